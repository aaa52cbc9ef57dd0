"""The campaign in stages/, rehearsed: one step of each at a small size, each going on from the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from regcodec.cli.main import main
from regcodec.codec.model import Model

STAGES = Path(__file__).parents[2] / "stages"
SMALL = ("--steps", "1", "--batch", "2", "--crop", "64", "--validate-every", "1", "--device", "cpu")


def rehearse(stage: str, run: Path, photos: Path, *options: str) -> Path:
    """Run one step of a stage through the command line and return its run."""
    where = ("--data", str(photos), "--run", str(run), "--cache", str(photos.parent / "cache"))
    done = CliRunner().invoke(main, ["train", "--config", str(STAGES / stage), *where, *SMALL, *options])
    assert done.exit_code == 0, done.output
    return run


@pytest.mark.slow
def test_the_stages_follow_each_other_to_a_pack_of_all_rates(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first three end without their packs, which nothing here goes on from and which take long."""
    ended: list[Path] = []
    with monkeypatch.context() as patched:
        patched.setattr("regcodec.training.export.export_checkpoint", lambda run, *_, **__: ended.append(run))
        cpu = rehearse("res-context-cpu.toml", tmp_path / "cpu", photos, "--size", "small")
        first = rehearse("res-context-256.toml", tmp_path / "256", photos, "--size", "small", "--init", str(cpu))
        second = rehearse("res-context-512.toml", tmp_path / "512", photos, "--init", str(first))
    assert [path.parent for path in ended] == [cpu, first, second]
    last = rehearse("res-context-all.toml", tmp_path / "all", photos, "--init", str(second))
    rates = Model.open(last / "all.rgm").rates
    assert (len(rates.qualities), len(rates.z_steps), rates.trained) == (701, 63, tuple(range(1, 9)))
    assert set(rates.biases) == {"analysis", "synthesis", "context"}
    more = ("--init", str(last / "all.rgm"), "--blocks-synthesis", "8", "--blocks-context", "2")
    deeper = rehearse("res-context-all.toml", tmp_path / "deeper", photos, *more)
    model = Model.open(deeper / "deeper.rgm")
    assert (len(model.rates.qualities), set(model.rates.biases)) == (701, {"analysis", "synthesis", "context"})
    assert len(model.entropy.context.layers) == len(Model.open(last / "all.rgm").entropy.context.layers) + 3
