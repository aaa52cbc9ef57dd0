"""`regcodec study gap` end to end: a plan of tiny networks, its report, and the effects' arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from rich.console import Console

from regcodec.bitstream.container import read_rgc
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.library import DEFAULT, find_pack
from regcodec.codec.model import Model
from regcodec.errors import UsageError
from regcodec.study import gap_report
from regcodec.study.bound import train_bound
from regcodec.study.bound_codec import Codec, ideal, row_of
from regcodec.study.bound_curves import averages
from regcodec.study.gap_effects import Measured, asymptotic, figure
from regcodec.study.gap_plan import Network, Plan, read_plan
from regcodec.study.gap_report import write_report
from regcodec.training.loop import RunPaths
from regcodec.training.restore import restore_network
from regcodec.training.tables import gaussian_tables
from tests.agreement import table_bits
from tests.study.conftest import CONFIG, NETWORKS


@pytest.fixture(scope="module")
def plan(codecs: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    text = 'optimised = ["a"]\neffort = 4\niterations = 2\nlr = 0.02\nsamples = 2\n'
    for arch, pack in codecs.items():
        paths = RunPaths(folder / arch, photos, None, photos.parent / "cache", pack)
        # hardly any training, so that its curve meets the codec's
        config = replace(CONFIG, network=NETWORKS[arch], steps=4, validate_every=4, lr=1e-6, lr_rates=1e-6)
        train_bound(config, paths, device="cpu", console=Console(quiet=True))
        text += f'[[network]]\nname = "{arch}"\npack = "{pack}"\nbound = "{folder / arch}"\n'
    (folder / "plan.toml").write_text(text)
    return folder / "plan.toml"


def test_the_report_names_the_five_effects_and_goes_on_where_it_stopped(
    run: Callable[..., Result], plan: Path, held: Path, tmp_path: Path
) -> None:
    anchor = tmp_path / "line.json"
    anchor.write_text(json.dumps({"results": {"bpp": [0.1, 1, 4], "psnr-rgb": [15, 25, 40]}}))
    arguments = ["study", "gap", plan, "--dataset", held, "--anchor", anchor, "-o", tmp_path / "out", "--threads", 1]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    journal = tmp_path / "out/points.jsonl"
    rows = journal.read_text().splitlines()
    # each of two networks at two lambdas: bound and codec of two images; untrained, both optimised of one
    assert len(rows) == 2 * 2 * (2 + 2 + 1 + 1 + 1)
    report = (tmp_path / "out/report.md").read_text()
    for word in ("Modelling", "Information loss", "Approximation", "Amortization", "Digitization", "Asymptotic"):
        assert word in report
    for said in ("-24 %", "-35 %", "-22 %", "-36 %", "| line |", "cannot tell it apart from digitization"):
        assert said in report
    for name in ("gap.csv", "rd.svg", "gap_size.svg", "amortization.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 0

    journal.write_text("".join(f"{row}\n" for row in rows[:-1]))
    assert run(*arguments).exit_code == 0
    assert len(journal.read_text().splitlines()) == len(rows)
    assert (tmp_path / "out/report.md").read_text() == report


def test_bd_rates_are_of_each_image_then_averaged_and_over_common_images() -> None:
    def curve(share: float, images: str) -> list[dict[str, object]]:
        return [
            {"image": i, "lambda": n, "bpp": share * 2.0**n, "psnr": 30.0 + n, "ms_ssim": 0.9 + n / 100, "mse": 1.0}
            for i in images
            for n in range(3)
        ]

    found = figure(curve(0.8, "abc"), curve(1.0, "bcd"))
    assert found is not None
    assert found.per_image == pytest.approx(-20)
    assert found.images == 2
    assert figure(curve(1, "a"), curve(1, "b")) is None
    assert figure([], curve(1, "b")) is None


def test_files_of_the_default_pack_are_a_little_above_their_ideal_length() -> None:
    root = Path(__file__).parents[2]
    model = Model.open(find_pack(DEFAULT), threads=1)
    codec = Codec(model, restore_network(model.pack).requires_grad_(False))
    with Image.open(root / "docs" / "sample" / "coffee.png") as image:
        pixels = np.asarray(image.convert("RGB"))[100:228, 120:312]
    quality = model.rates.qualities[row_of(model, 0.0162)]
    data = encode_pixels(pixels, model, quality)
    tables, floats, stream = ideal(codec, read_rgc(data))
    gaussian = table_bits(replace(model, y_tables=gaussian_tables()), pixels, quality)
    assert tables <= 8 * stream <= tables + 64 + 0.001 * tables
    assert floats == pytest.approx(gaussian, rel=0.005)
    assert 0 < len(data) - stream <= 48


def test_the_asymptotic_figures_are_those_of_the_rows() -> None:
    row = {"image": "a", "bytes": 1010, "stream": 980, "table_bits": 8000.0, "float_bits": 8080.0, "bpp": 8.08}
    found = asymptotic([row], [{"image": "a", "bpp": 7.0}])
    assert found.tables == pytest.approx(1)
    assert found.floats == pytest.approx(0)
    assert found.header == 30
    assert found.one_shot == pytest.approx(100 * 12.7733 / 7000, rel=1e-3)


def test_the_plot_is_of_the_lowest_bound_at_common_lambdas_and_without_published_curves_for_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(name: str, lambdas: tuple[float, ...], mse: float) -> Measured:
        sizes = {"bytes": 100, "stream": 90, "table_bits": 700.0, "float_bits": 700.0, "bpp": 1.0}
        rows = [{"image": "a", "lambda": n, "psnr": 30.0, "ms_ssim": None, "mse": mse, **sizes} for n in lambdas]
        curves = dict.fromkeys(("codec", "codec_optimised", "bound", "bound_optimised", "untrained"), rows)
        return Measured(name=name, arch="res-hyper", transforms=1, parameters=1, steps=(1, 1), **curves)

    drawn = []
    monkeypatch.setattr(
        gap_report, "write_rd", lambda path, curves, anchors, title: drawn.append((curves, anchors)) or []
    )
    networks = [network("one rate", (0.01,), 200.0), network("two rates", (0.01, 0.05), 100.0)]
    published = [[replace(point, codec="vtm") for point in averages("vtm", networks[1].codec)]]
    plan = Plan(networks=tuple(Network(name=n.name, pack="p", bound="b") for n in networks))
    for measured in (1, 2):
        write_report(tmp_path, networks, published, plan, dataset="two", images=(measured, 2))
    (part, none), (_, all_) = drawn
    assert {name.partition(",")[0] for name in part} == {"two rates"}
    assert (none, all_) == ([], published)


def test_the_plan_of_the_study_has_three_sizes_and_a_context() -> None:
    plan = read_plan(Path(__file__).parents[2] / "studies" / "gap" / "plan.toml")
    assert [network.name for network in plan.networks] == ["small", "middle", "large", "context"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("effort = 6", "needs [[network]] entries"),
        ("efort = 6", "unknown settings: efort"),
        ('[[network]]\nname = "a"\npack = "b"', "bound"),
        ('effort = 0\n[[network]]\nname = "a"\npack = "b"\nbound = "c"', "at least 1"),
        ("= 3", "not a TOML file"),
        ("network = 3", "written as [[network]]"),
        ('images = "kodim05"', "images is a list of names"),
    ],
)
def test_a_plan_that_is_none_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as failure:
        read_plan(path)
    assert str(path) in str(failure.value)
    assert sentence in str(failure.value)


def test_a_bound_of_another_pack_is_refused(
    run: Callable[..., Result], plan: Path, codecs: dict[str, Path], held: Path, tmp_path: Path
) -> None:
    text = plan.read_text().replace(str(codecs["res-hyper"]), str(codecs["res-context"]))
    (tmp_path / "plan.toml").write_text(text)
    result = run("study", "gap", tmp_path / "plan.toml", "--dataset", held, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "began from pack" in result.output
