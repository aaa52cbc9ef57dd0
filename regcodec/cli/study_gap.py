"""`regcodec study gap`: the five effects of arXiv 2501.12330 for several networks, measured and reported."""

from __future__ import annotations

from pathlib import Path

import click

from regcodec.cli.extras import require_training, use_threads
from regcodec.cli.paths import FOLDER
from regcodec.cli.study_bound import tell
from regcodec.cli.threads import limit_threads, threads_option


@click.command()
@click.argument("plan_file", metavar="PLAN.toml", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dataset", default="kodak", show_default=True, help="Folder of images, or a known set.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where known sets are, each in a folder of its name.")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Published curve (CURVE.json of CompressAI's form) to compare codecs and bounds with; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=FOLDER,
    help="Directory: points.jsonl, report.md, gap.csv, rd.svg, gap_size.svg, amortization.svg.",
)
@threads_option
def gap(
    plan_file: Path,
    dataset: str,
    data_dir: Path | None,
    anchors: tuple[Path, ...],
    output: Path,
    threads: int | None,
) -> None:
    """Report what separates codecs from R(D): modelling, approximation, amortization, digitization, asymptotic.

    \b
    regcodec study gap GAP.toml --dataset kodak --anchor vtm.json -o gap

    PLAN.toml names the networks (a pack and its bound each) and how much is measured; docs/gap.md describes it. Points
    that the directory has are not measured again, so that the same call goes on after a stop.
    """
    require_training("study")
    limit_threads(threads)
    use_threads(threads)

    from regcodec.evaluation.datasets import open_dataset
    from regcodec.evaluation.published import read_published
    from regcodec.evaluation.report import refuse_unwritable
    from regcodec.study.bound_journal import Journal
    from regcodec.study.bound_sweep import chosen
    from regcodec.study.gap import measure_gap
    from regcodec.study.gap_plan import read_plan
    from regcodec.study.gap_report import write_report

    plan = read_plan(plan_file)
    given = [read_published(path) for path in anchors]
    images = open_dataset(dataset, data_dir)
    for curve in given:
        curve.refuse_other(images)
    refuse_unwritable(output)
    networks = measure_gap(plan, images, Journal(output / "points.jsonl"), tell)
    counts = len(chosen(images, plan.images).paths), len(images.paths)
    for file in write_report(
        output, networks, [curve.rows for curve in given], plan, dataset=images.name, images=counts
    ):
        click.echo(f"wrote {file}", err=True)
