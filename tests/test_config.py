"""Settings that make no sense are refused with the flag's name."""

from __future__ import annotations

import math
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from regcodec.cli import extras
from regcodec.cli.main import main
from regcodec.cli.train import training_config
from regcodec.config import PRESETS, QUALITY_LAMBDAS, NetworkConfig, TrainConfig, quality_of_lambda, sized
from regcodec.errors import UsageError


def test_the_tables_lambdas_are_the_qualities_one_to_eight() -> None:
    assert [quality_of_lambda(value) for value in QUALITY_LAMBDAS] == list(range(1, 9))
    assert 2 < quality_of_lambda(math.sqrt(0.0035 * 0.0067)) < 3


def test_a_configuration_survives_json() -> None:
    config = training_config(
        "modern", rates="0.0018,0.013", regularizer="source-entropy", alpha="0.01,0.02", snapshots="5,10"
    )
    assert TrainConfig.from_dict(config.to_dict()) == config


FOUND = replace(sized("res-context", "medium"), offsets=True, hyper_step=True, rate_bias=True)


@pytest.mark.parametrize(
    ("options", "network"),
    [
        ({}, FOUND),
        ({"size": "large"}, replace(FOUND, blocks_a=13, blocks_s=18)),
        ({"blocks_synthesis": 14}, replace(FOUND, blocks_s=14)),
        ({"offsets": False, "latent_width": 512}, replace(FOUND, offsets=False, M=512)),
        ({"arch": "res-context"}, sized("res-context", "medium")),
        ({"arch": "res-hyper", "rate_bias": True}, replace(sized("res-hyper", "medium"), rate_bias=True)),
    ],
)
def test_a_run_keeps_the_network_that_it_goes_on_from_but_for_what_is_given(
    options: dict[str, object], network: NetworkConfig
) -> None:
    assert training_config("modern", rates="0.0035,0.013", found=FOUND, **options).network == network


def test_attention_keeps_one_width_when_it_goes_on() -> None:
    found = NetworkConfig(arch="attention", N=24, M=24)
    assert training_config("modern", lambda_=0.01, found=found, width=32).network == replace(found, N=32, M=32)


def test_the_regularizer_of_a_run_that_goes_on_is_the_networks() -> None:
    config = training_config("modern", rates="0.01", found=FOUND, regularizer="source-entropy", ratio=0.1)
    assert config.regularizer.source_model == "quadtree"


def test_a_size_that_the_network_that_it_goes_on_from_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="--size goes with --arch res-hyper or res-context, not with hyperprior"):
        training_config("modern", lambda_=0.01, found=NetworkConfig(), size="large")


def test_the_paper_preset_is_the_papers_training() -> None:
    paper = PRESETS["paper"]
    assert (paper.batch, paper.crop, paper.lr, paper.lr_source, paper.seed) == (16, 256, 1e-4, 1e-3, 1)
    assert (paper.surrogate, paper.ema, paper.validation_share, paper.start) == ("noise", 0.0, 0.1, "random")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "--lambda for a model of one rate"),
        ({"lambda_": 0.01, "rates": "0.01"}, "--lambda for a model of one rate"),
        ({"rates": "0.01", "regularizer_from": 5}, "go with a --regularizer"),
        ({"rates": "0.01", "regularizer": "source-entropy", "ratio": 0.1, "source_width": -1}, "not be negative"),
        ({"rates": "0.01", "regularizer": "source-entropy", "ratio": 0.1, "source_windows": 3}, "1, 2 or 4"),
        ({"rates": "0.01", "source_windows": 2}, "go with a --regularizer"),
        ({"rates": "0.01", "compensate": False}, "--no-compensate goes with --ratio"),
        (
            {"rates": "0.01", "regularizer": "source-entropy", "alpha": "1", "compensate": False},
            "--no-compensate goes with --ratio",
        ),
        (
            {"rates": "0.01", "regularizer": "source-entropy", "ratio": 0.1, "regularizer_from": 50, "steps": 50},
            "--regularizer-from must be below --steps",
        ),
        (
            {
                "rates": "0.01",
                "regularizer": "source-entropy",
                "ratio": 0.1,
                "regularizer_from": 9,
                "regularizer_until": 9,
            },
            "--regularizer-until must be above --regularizer-from",
        ),
        ({"rates": "0.01", "snapshots": "5,x"}, "--snapshots 5,x"),
        ({"rates": "0.01", "snapshots": "5,3"}, "each step once, in rising order"),
        ({"rates": "0.01,0.001"}, "rising order"),
        ({"rates": "much"}, "--rates much"),
        ({"lambda_": 0.01, "crop": 100}, "--crop"),
        ({"lambda_": 0.01, "lr": math.nan}, "--lr and --lr-source.* must be above 0"),
        ({"lambda_": 0.01, "lr": -1.0}, "--lr and --lr-source.* must be above 0"),
        ({"lambda_": 0.01, "lr": 0.0}, "--lr and --lr-source.* must be above 0"),
        ({"lambda_": 0.01, "lr_source": math.nan}, "--lr and --lr-source.* must be above 0"),
        ({"lambda_": 0.01, "ema": 2.0}, "--ema must be at least 0 and below 1"),
        ({"lambda_": 0.01, "ema": math.nan}, "--ema must be at least 0 and below 1"),
        ({"lambda_": 0.01, "clip": -1.0}, "--clip must not be negative"),
        ({"lambda_": 0.01, "warmup": -5}, "--warmup and --seed must not be negative"),
        ({"lambda_": 0.01, "seed": -1}, "--warmup and --seed must not be negative"),
        ({"lambda_": 0.01, "downscale": math.inf}, "--downscale a number"),
        ({"lambda_": 0.01, "regularizer": "source-entropy"}, "--alpha or --ratio"),
        ({"rates": "0.01,0.02", "regularizer": "source-entropy", "alpha": "1,2,3"}, "--alpha takes one value or 2"),
    ],
)
def test_settings_that_make_no_sense_name_the_flag(options: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        training_config("modern", **options)


def test_settings_that_are_off_are_no_errors() -> None:
    config = training_config("modern", lambda_=0.01, clip=0.0, ema=0.0, warmup=0, downscale=1.0)
    assert (config.clip, config.ema, config.warmup, config.downscale) == (0, 0, 0, 1)


def test_train_without_its_extra_says_which_command_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["train", "--data", str(tmp_path), "--run", "r", "--lambda", "0.01"])
    assert result.exit_code == 1
    assert 'pip install "regcodec[train]"' in result.output


def test_of_the_warnings_of_the_extra_one_is_not_shown_and_the_others_are() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        extras.require_training("train")
        warnings.warn("`torch.jit.script` is deprecated. Please switch to `torch.compile`.", FutureWarning, 2)
        warnings.warn("something else", FutureWarning, 2)
    assert [str(warning.message) for warning in shown] == ["something else"]


@pytest.mark.parametrize(
    ("stage", "options", "sentence"),
    [
        ("steps = 5\ncrop = 65", [], "--crop must be a multiple of 64"),
        ("crop = 65", ["--crop", "64", "--steps", "0"], "--steps"),
        ('arch = "res-hyper"\nwidth = 30', [], "multiples of 4"),
        ("lambda = 0.02", [], "--lambda"),
        ("colour = 3", [], "unknown settings: colour"),
        ("steps 5", [], "not a TOML file"),
    ],
)
def test_a_stage_file_stands_for_options_that_are_not_given(
    tmp_path: Path, stage: str, options: list[str], sentence: str
) -> None:
    path = tmp_path / "stage.toml"
    path.write_text("rates = [0.0035, 0.013]\n" + stage)
    done = CliRunner().invoke(
        main, ["train", "--config", str(path), "--data", str(tmp_path), "--run", str(tmp_path / "run"), *options]
    )
    assert done.exit_code == 2
    assert sentence in done.output


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "stages").glob("*.toml")), ids=lambda p: p.stem)
def test_every_stage_of_the_campaign_is_a_configuration(path: Path) -> None:
    stage = tomllib.loads(path.read_text())
    options = {name.replace("-", "_"): value for name, value in stage.items()}
    if "rates" in options:
        options["rates"] = ",".join(map(str, options["rates"]))
    assert training_config("modern", **options).lambdas == QUALITY_LAMBDAS
