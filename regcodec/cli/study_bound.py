"""`regcodec study bound`: an upper bound of R(D): trained from a codec, measured on a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regcodec.cli.extras import cache_option, device_option, require_training, use_threads, val_option
from regcodec.cli.paths import FOLDER
from regcodec.cli.threads import limit_threads, threads_option
from regcodec.config import PRECISIONS, TrainConfig
from regcodec.errors import UsageError

if TYPE_CHECKING:
    from regcodec.study.bound_curves import Curve

DEFAULTS = replace(TrainConfig(), steps=1000, crop=128, lr=1e-4, lr_rates=2e-3, warmup=50, ema=0.99)
"""Of the training: it begins from a trained codec."""


@click.command()
@click.option("--run", "run_dir", type=FOLDER, help="Directory of the bound: the same call goes on.")
@click.option(
    "--init", type=click.Path(path_type=Path), help="Pack or run of a res-hyper or res-context to begin from."
)
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Train on this folder of images.")
@val_option
@click.option(
    "--lambdas", help="Of the training, comma-separated and rising  [default: 0.0018,0.0054,0.0162,0.0483, the paper's]"
)
@click.option("--steps", type=click.IntRange(1), default=DEFAULTS.steps, show_default=True, help="Of the training.")
@click.option("--batch", type=int, default=DEFAULTS.batch, show_default=True, help="Images a step.")
@click.option("--crop", type=int, default=DEFAULTS.crop, show_default=True, help="Pixels a side, a multiple of 64.")
@click.option("--lr", type=float, default=DEFAULTS.lr, show_default=True, help="Adam, networks; the cosine's start.")
@click.option("--warmup", type=int, default=DEFAULTS.warmup, show_default=True, help="Steps of linear warm-up.")
@click.option("--ema", type=float, default=DEFAULTS.ema, show_default=True, help="Decay of the averaged weights.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=DEFAULTS.precision,
    show_default=True,
    help="bf16 autocast of the networks in training, or fp32; auto: bf16 where hardware has it.",
)
@click.option("--seed", type=int, default=DEFAULTS.seed, show_default=True, help="Of everything random in training.")
@click.option("--validate-every", type=int, default=1000, show_default=True, help="Steps between validations.")
@click.option("--save-every", type=int, default=250, show_default=True, help="Steps between checkpoints.")
@device_option
@cache_option
@click.option("--dataset", help="Measure on a folder of images or a known set (kodak).")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where known sets are, each in a folder of its name.")
@click.option("--names", default="", help="Only these images of the set: names without suffix, comma-separated.")
@click.option("--samples", type=click.IntRange(1), default=4, show_default=True, help="Of the posterior, per point.")
@click.option(
    "--per-sample",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Measure with the posterior optimised as well: N iterations for each image and rate (the paper: 5000).",
)
@click.option(
    "--per-sample-lr",
    type=float,
    default=5e-3,
    show_default=True,
    help="Adam's, of the optimised means and log-scales, in steps; few iterations want a larger one.",
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    help="BD-rate against it: a pack (coded at the bound's lambdas, effort 0) or a published curve (CURVE.json); may "
    "be repeated.",
)
@click.option("-o", "--output", type=FOLDER, help="Directory: points.jsonl, bound.csv, rd.svg.")
@threads_option
def bound(
    run_dir: Path | None,
    init: Path | None,
    data: Path | None,
    val: Path | None,
    lambdas: str | None,
    device: str,
    cache: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    names: str,
    samples: int,
    per_sample: int,
    per_sample_lr: float,
    anchors: tuple[str, ...],
    output: Path | None,
    threads: int | None,
    **training: Any,
) -> None:
    """Bound R(D) from above by a codec with Gaussian posteriors instead of rounding.

    \b
    regcodec study bound --init res-context-vanilla --data photos --run runs/bound --steps 1000
    regcodec study bound --run runs/bound --dataset kodak -o bound --anchor res-context-vanilla --anchor vtm.json
    regcodec study bound --run runs/bound --dataset kodak -o bound --per-sample 5000

    With --data it trains (the same call goes on from a checkpoint), with --dataset it measures, with both one after the
    other. Without --run it measures the bound that --init gives untrained. Points that --output has are not measured
    again. docs/gap.md says what is measured and why it is a bound.
    """
    if data is None and dataset is None:
        raise UsageError("give --data to train a bound, --dataset to measure one, or both.")
    if data is not None and (run_dir is None or init is None):
        raise UsageError("--data: training needs --init (what it begins from) and --run (where it is kept).")
    if dataset is not None and run_dir is None and init is None:
        raise UsageError("--dataset: name what is measured: --run of a bound, or --init for an untrained one.")
    if dataset is not None and output is None:
        raise UsageError("--dataset: name a directory for the points: --output.")
    require_training("study")
    limit_threads(threads)
    use_threads(threads)
    if data is not None and run_dir is not None:
        _train(run_dir, init, data, val, lambdas, device, cache, training)
    if dataset is not None and output is not None:
        _measure(run_dir or init, dataset, data_dir, names, samples, per_sample, per_sample_lr, anchors, output)


def _train(
    run: Path,
    init: Path | None,
    data: Path,
    val: Path | None,
    lambdas: str | None,
    device: str,
    cache: Path | None,
    settings: dict[str, Any],
) -> None:
    from regcodec.cli.console import stderr_console
    from regcodec.cli.train import numbers
    from regcodec.study.bound import LAMBDAS, train_bound
    from regcodec.training.cache import default_cache_dir
    from regcodec.training.initial import network_config_of
    from regcodec.training.loop import RunPaths

    assert init is not None
    network = replace(network_config_of(init), offsets=False, hyper_step=False)
    rates = LAMBDAS if lambdas is None else numbers(lambdas, "--lambdas")
    config = replace(DEFAULTS, network=network, lambdas=rates, **settings)
    paths = RunPaths(run=run, data=data, val=val, cache=cache or default_cache_dir(), init=init)
    checkpoint = train_bound(config, paths, device=device, console=stderr_console())
    click.echo(f"wrote {checkpoint}", err=True)


def _measure(
    path: Path | None,
    dataset: str,
    data_dir: Path | None,
    names: str,
    samples: int,
    per_sample: int,
    lr: float,
    anchors: tuple[str, ...],
    output: Path,
) -> None:
    from regcodec.evaluation.datasets import open_dataset
    from regcodec.evaluation.published import SUFFIX, read_published
    from regcodec.evaluation.report import refuse_unwritable
    from regcodec.study.bound_curves import write_curves
    from regcodec.study.bound_journal import Journal
    from regcodec.study.bound_measure import Effort
    from regcodec.study.bound_report import print_bound, write_rd
    from regcodec.study.bound_sweep import chosen, sweep_bound, sweep_codec

    assert path is not None
    given = [read_published(Path(name)) for name in anchors if name.endswith(SUFFIX)]
    whole = open_dataset(dataset, data_dir)
    for curve in given:
        curve.refuse_other(whole)
    published = [curve.rows for curve in given]
    images = chosen(whole, [name for name in names.replace(",", " ").split() if name])
    refuse_unwritable(output)
    journal = Journal(output / "points.jsonl")
    curves: dict[str, Curve] = {}
    curves["bound"] = sweep_bound(path, images, Effort(), samples, journal, tell)
    if per_sample:
        effort = Effort(iterations=per_sample, lr=lr)
        curves[f"bound, {per_sample} iterations"] = sweep_bound(path, images, effort, samples, journal, tell)
    rates = sorted({row["lambda"] for row in curves["bound"]})
    for name in anchors:
        if not name.endswith(SUFFIX):
            if Path(name).stem in curves:
                raise UsageError(f"--anchor {name}: there is a curve of this name already; rename the pack.")
            curves[Path(name).stem] = sweep_codec(name, images, rates, 0, journal, tell)
    if len(images.paths) < len(whole.paths) and published:
        click.echo(
            f"{len(images.paths)} of {len(whole.paths)} images: a published curve is of all, so no BD-rate against "
            "it is given.",
            err=True,
        )
        published = []
    print_bound(curves, published)
    write_curves(output / "bound.csv", curves)
    for file in (output / "bound.csv", *write_rd(output / "rd.svg", curves, published, title=images.name)):
        click.echo(f"wrote {file}", err=True)


def tell(row: dict[str, Any]) -> None:
    effort = row.get("iterations", row.get("effort"))
    click.echo(
        f"{row['name']} {row['kind']} effort {effort} {row['image']} lambda {row['lambda']:g}: "
        f"{row['bpp']:.4f} bpp {row['psnr']:.3f} dB, {row['seconds']:.1f} s",
        err=True,
    )
