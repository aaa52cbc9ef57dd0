"""`regcodec study regularizer`: pairs of runs with and without the regularizer, over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from regcodec.cli.extras import cache_option, device_option, require_training, use_threads, val_option
from regcodec.cli.paths import FOLDER
from regcodec.cli.threads import limit_threads, threads_option
from regcodec.cli.train import config_of
from regcodec.config import TrainConfig
from regcodec.errors import UsageError


@click.command()
@click.argument("study", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o",
    "--out",
    "--output",
    "out",
    required=True,
    type=FOLDER,
    help="Folder of the study.",
)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of images to train on."
)
@val_option
@click.option(
    "--images",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Where a set of the study's [[images]] lies; may be repeated.",
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Published curve (CompressAI's JSON) beside the references on the published sets; may be repeated.",
)
@click.option(
    "--init", type=click.Path(path_type=Path), help="Weights that every run starts from: a pack or a checkpoint."
)
@device_option
@cache_option
@threads_option
@click.option("--report-only", is_flag=True, help="Write the tables of what there is; train and code nothing.")
def regularizer(
    study: Path,
    out: Path,
    data: Path,
    val: Path | None,
    images: tuple[str, ...],
    anchors: tuple[Path, ...],
    init: Path | None,
    device: str,
    cache: Path | None,
    threads: int | None,
    report_only: bool,
) -> None:
    """Train the pairs of runs of a STUDY (a TOML file), with and without the regularizer, and write their tables.

    \b
    regcodec study regularizer studies/small.toml --out out/small --data photos/ --images kodak=kodak/

    One run for each variant and seed, in OUT/runs; those of a seed begin with equal weights, batches and noise. Their
    packs code the image sets through real files. Stop it at any moment: the same command goes on. The report is in
    OUT/report.md, with CSV files and plots beside it. docs/training.md says what a STUDY holds.
    """
    limit_threads(threads)
    folders = dict(_named(text) for text in images)
    require_training("study")

    from importlib.util import find_spec

    from regcodec.cli.console import stderr_console
    from regcodec.evaluation.published import read_published
    from regcodec.study.plan import read_plan
    from regcodec.study.regularizer import run_study
    from regcodec.study.runs import Places
    from regcodec.training.cache import default_cache_dir
    from regcodec.training.initial import network_config_of

    use_threads(threads)
    found = None if init is None else network_config_of(init)

    def configure(settings: Mapping[str, Any]) -> TrainConfig:
        return config_of(settings, found)

    plan = read_plan(study, configure)
    published = [read_published(path).rows for path in anchors]
    if published and not any(images.published for images in plan.images):
        raise UsageError(
            f"{study}: no [[images]] is published = true, so there is nothing for --anchor to stand beside."
        )
    console = stderr_console()
    places = Places(out=out, data=data, val=val, cache=cache or default_cache_dir(), init=init)
    plots = find_spec("matplotlib") is not None
    if not plots:
        console.print('No plots without matplotlib: pip install "regcodec[plot]"')
    for path in run_study(
        plan,
        places,
        folders,
        published,
        device=device,
        threads=threads,
        plots=plots,
        report_only=report_only,
        console=console,
    ):
        click.echo(f"wrote {path}", err=True)


def _named(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not separator or not name or not Path(folder).is_dir():
        raise UsageError(f"--images {text}: give NAME=FOLDER, with a folder that is there.")
    return name, Path(folder)
