"""`regcodec export`: a checkpoint to a pack."""

from __future__ import annotations

from pathlib import Path

import click

from regcodec.cli.extras import require_training
from regcodec.config import QUALITY_LAMBDAS
from regcodec.errors import UsageError


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Pack to write, NAME.rgm.")
@click.option("--from", "source", type=click.Choice(["compressai"]), help="Where a foreign CHECKPOINT comes from.")
@click.option("--lambda", "lambda_", type=float, help="With --from: the lambda it was trained with (255^2 * MSE).")
@click.option(
    "--quality",
    type=click.IntRange(1, len(QUALITY_LAMBDAS)),
    help="With --from, instead of --lambda: its quality on CompressAI's scale.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an existing pack.")
def export(
    checkpoint: Path, output: Path, source: str | None, lambda_: float | None, quality: int | None, force: bool
) -> None:
    """Freeze a training CHECKPOINT (a file or a run's directory) into a pack.

    \b
    regcodec export runs/first -o mine.rgm
    regcodec export --from compressai mbt2018-5.pth.tar --quality 5 -o mbt2018-5.rgm

    With --from compressai the CHECKPOINT is a state dict of CompressAI's mbt2018_mean, mbt2018 or cheng2020_attn.

    Measures what the integer entropy network costs against the float one, refuses above 1 %, and proves the pack by a
    round trip. On one machine equal checkpoints give equal packs.
    """
    lambda_ = _lambda_of(source, lambda_, quality)
    require_training("export")
    from regcodec.cli.console import stderr_console
    from regcodec.training.checkpoint import NAME
    from regcodec.training.export import export_checkpoint
    from regcodec.training.imported import export_compressai

    if lambda_ is not None:
        export_compressai(checkpoint, output, lambda_, force=force, console=stderr_console())
        return
    file = checkpoint / NAME if checkpoint.is_dir() else checkpoint
    export_checkpoint(file, output, force=force, console=stderr_console())


def _lambda_of(source: str | None, lambda_: float | None, quality: int | None) -> float | None:
    """Return the lambda of a foreign checkpoint; None for one of our own, which knows it."""
    if source is None:
        if lambda_ is not None or quality is not None:
            raise UsageError("--lambda and --quality go with --from: a run knows its own.")
        return None
    if (lambda_ is None) == (quality is None):
        raise UsageError(
            "a CompressAI checkpoint does not say what it was trained for: give --lambda or --quality, one of them."
        )
    found = QUALITY_LAMBDAS[quality - 1] if quality is not None else lambda_
    if found is None or not 0 < found < 100:
        raise UsageError("--lambda takes a number above 0 (the table: 0.0018 to 0.18).")
    return found
