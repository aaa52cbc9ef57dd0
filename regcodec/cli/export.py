"""`regcodec export`: a checkpoint to a pack."""

from __future__ import annotations

from pathlib import Path

import click

from regcodec.cli.extras import require_training


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Pack to write, NAME.rgm.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing pack.")
def export(checkpoint: Path, output: Path, force: bool) -> None:
    """Freeze a training CHECKPOINT (a file or a run's directory) into a pack.

    Measures what the integer entropy network costs against the float one, refuses above 1 %, and proves the pack by a
    round trip. Equal checkpoints give equal packs.
    """
    require_training("export")
    from regcodec.cli.console import stderr_console
    from regcodec.training.checkpoint import NAME
    from regcodec.training.export import export_checkpoint

    file = checkpoint / NAME if checkpoint.is_dir() else checkpoint
    export_checkpoint(file, output, force=force, console=stderr_console())
