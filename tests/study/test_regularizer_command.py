"""`regcodec study regularizer` from end to end: trained, measured, stopped, gone on with, refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from regcodec.errors import NotExportedError
from regcodec.study import measure
from regcodec.study.runs import JOURNAL, Run
from regcodec.training import loop
from regcodec.training.checkpoint import NAME, load_checkpoint, save_checkpoint
from tests.images import render

STUDY = """
seeds = [1, 2]
snapshots = [3]
[base]
width = 8
latent-width = 12
start = "random"
precision = "fp32"
rates = [0.0035, 0.013]
steps = 3
batch = 2
crop = 64
warmup = 2
[[variant]]
name = "vanilla"
[[variant]]
name = "r0.1"
regularizer = "source-entropy"
ratio = 0.1
[[images]]
name = "two"
count = 2
every-snapshot = true
[[images]]
name = "all"
published = true
"""
PUBLISHED = {"name": "made", "results": {"bpp": [0.01, 5.0], "psnr-rgb": [5.0, 30.0]}}


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("few")
    for seed in range(3):
        Image.fromarray(render(seed, 80, 70)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def study(run: Callable[..., Result], few: Path, tmp_path: Path) -> Callable[..., Result]:
    """Run the study of `text` in tmp_path/out."""
    published = tmp_path / "made.json"
    published.write_text(json.dumps(PUBLISHED))

    def call(*options: str, text: str = STUDY, without_images: bool = False) -> Result:
        file = tmp_path / "tiny.toml"
        file.write_text(text)
        where = ("--out", tmp_path / "out", "--data", few, "--cache", tmp_path / "cache")
        images = () if without_images else ("--images", f"two={few}", "--images", f"all={few}")
        more = ("--anchor", published, "--threads", "1", "--device", "cpu")
        return run("study", "regularizer", file, *where, *images, *more, *options)

    return call


def _untimed(points: Path) -> list[dict]:
    rows = [json.loads(line) for line in points.read_text().splitlines()]
    timed = ("encode_seconds", "decode_seconds", "parts")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


@pytest.mark.slow
def test_a_study_stopped_while_training_and_while_coding_ends_as_if_it_had_not_been(
    study: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, sweep, calls = loop._Run._advance, measure.sweep, []

    def stopping_in_the_second_run(own, x, quality):
        if own.config.regularizer.ratio and own.step == 2:
            raise KeyboardInterrupt
        return advance(own, x, quality)

    def stopping_at_the_second_image(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sweep(*arguments, **named)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(measure, "sweep", stopping_at_the_second_image)
        assert study().exit_code == 130
    assert len(_untimed(out / "points.jsonl")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_advance", stopping_in_the_second_run)
        assert study().exit_code == 130
    done = study()
    assert done.exit_code == 0, done.output
    points = _untimed(out / "points.jsonl")
    # two images for four runs and three more for the first reference, at two qualities
    assert len(points) == 2 * (4 * 2 + 3)
    assert len({tuple(row.items()) for row in points}) == len(points)
    page = (out / "report.md").read_text()
    assert "4 of 4 runs" in page
    assert "2 of 2 pairs begun with equal weights" in page
    assert "| vanilla | made | " in page

    before = (out / "points.jsonl").read_bytes()
    for target, name in ((loop._Run, "_advance"), (measure, "sweep"), (measure, "export_checkpoint")):
        monkeypatch.setattr(target, name, lambda *_, **__: pytest.fail("done again"))
    assert study().exit_code == 0
    assert study("--report-only").exit_code == 0
    assert (out / "points.jsonl").read_bytes() == before
    assert (out / "report.md").read_text() == page
    assert study("--report-only", without_images=True).exit_code == 0
    start, end = page.index("\n## References of seed 1"), page.index("\n## Curves on two")
    assert (out / "report.md").read_text() == page[:start] + page[end:]  # whether all are measured is not known

    begun = study("--init", str(next((out / "runs").rglob("*.rgm"))))
    assert begun.exit_code == 2
    assert "began from other weights (--init). Choose another --out." in begun.output
    other = study(text=STUDY.replace("warmup = 2", "warmup = 1"))
    assert other.exit_code == 2
    assert "was trained with other settings (warmup 2, now 1). Choose another --out." in other.output

    checkpoint = out / "runs" / "r0.1" / "seed-1" / NAME
    state = load_checkpoint(checkpoint)
    for name in [name for name in state["task"] if name.startswith("regularizer.errors.")]:
        state["task"][name.replace("errors", "mse")] = state["task"].pop(name)
    save_checkpoint(checkpoint, state)
    older = study()
    assert older.exit_code == 2
    assert "seed-1: was regularized by an older version, in another way. Choose another --out." in older.output


@pytest.mark.slow
def test_a_run_whose_export_is_refused_is_left_out_of_the_image_sets_and_named(
    study: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, tried = measure.export_checkpoint, []

    def refusing_the_first_regularized(checkpoint: Path, target: Path, **named: object) -> object:
        tried.append(target.stem)
        if target.stem.startswith("r0.1") and target.parent.name == "seed-1":
            raise NotExportedError("integers cost too much")
        return export(checkpoint, target, **named)

    monkeypatch.setattr(measure, "export_checkpoint", refusing_the_first_regularized)
    for attempts in (4, 4):  # a refusal is not tried again
        assert study().exit_code == 0
        assert len(tried) == attempts
    page = (tmp_path / "out" / "report.md").read_text()
    assert "`r0.1`, seed 1, step 3, is in no image set, and its pair in no BD-rate: integers cost too much" in page
    validated = next(csv.DictReader((tmp_path / "out" / "differences.csv").open()))
    assert (validated["figure"], validated["seeds"]) == ("validation", "2")
    coded = {(row["variant"], row["seed"]) for row in _untimed(tmp_path / "out" / "points.jsonl")}
    assert coded == {("vanilla", 1), ("vanilla", 2), ("r0.1", 2)}


def test_variants_that_do_not_begin_equal_are_no_pair(study: Callable[..., Result]) -> None:
    wide = STUDY.replace('name = "r0.1"', 'name = "r0.1"\nlatent-width = 16').split("[[images]]")[0]
    refused = study(text=wide + '[[images]]\nname = "two"\n[[images]]\nname = "all"\npublished = true\n')
    assert refused.exit_code == 1
    assert (
        "variant r0.1, seed 1: its first weights, its first batch or its validation images are not those of vanilla"
        in refused.output
    )


def test_a_pair_begins_alike_as_far_as_both_say(tmp_path: Path) -> None:
    begun = [{"weights": "w", "batch": "b"}, {"weights": "w", "batch": "b", "validation": "v"}]
    begun += [{**begun[1], "validation": "x"}, {**begun[0], "batch": "c"}]
    runs = [Run(tmp_path / str(place)) for place in range(len(begun) + 1)]
    for run, told in zip(runs, begun, strict=False):
        run.folder.mkdir()
        (run.folder / JOURNAL).write_text(json.dumps({"kind": "start", **told}) + "\n")
    alike = {(a, b) for a in range(5) for b in range(5) if runs[a].began_as(runs[b])}
    assert alike == {(n, n) for n in range(4)} | {(0, 1), (1, 0), (0, 2), (2, 0)}


def test_runs_on_unlike_hardware_are_no_pair(study: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    capable = iter([True, False])
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: next(capable))
    refused = study(text=STUDY.replace('precision = "fp32"\n', "").replace("seeds = [1, 2]", "seeds = [1]"))
    assert refused.exit_code == 1
    assert "variant r0.1, seed 1: was trained in fp32, vanilla in bf16, so they are no pair" in refused.output


@pytest.mark.parametrize(
    ("options", "text", "sentence"),
    [
        (("--images", "three=."), STUDY, "the study has no such set"),
        (("--images", "two"), STUDY, "give NAME=FOLDER"),
        ((), STUDY.replace("published = true", ""), "nothing for --anchor to stand beside"),
        ((), STUDY.replace("count = 2", "count = 9"), "holds 3 images, the study asks for 9 (two)"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(
    study: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], text: str, sentence: str
) -> None:
    refused = study(*options, text=text)
    assert refused.exit_code in (1, 2)
    assert sentence in refused.output
    assert not (tmp_path / "out" / "runs").exists()
