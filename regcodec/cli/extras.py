"""Commands that train: what to say where their extra is not installed, and the options that they share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from regcodec.config import TRAIN_EXTRA
from regcodec.errors import RegcodecError

val_option: Callable[[Any], Any] = click.option(
    "--val",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of validation images  [default: a tenth of --data]",
)
device_option: Callable[[Any], Any] = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
cache_option: Callable[[Any], Any] = click.option(
    "--cache", type=click.Path(path_type=Path), help="Where decoded images are kept  [default: the user's cache]"
)


def require_training(command: str) -> None:
    """Raise `RegcodecError` with the command that installs the `train` extra, unless it is there.

    From here on torch's word on what compressai loads is not shown: no user can act on it.
    """
    missing = [name for name in TRAIN_EXTRA if find_spec(name) is None]
    if missing:
        raise RegcodecError(
            f"regcodec {command} needs {', '.join(missing)}. Install the extra (Python 3.11 or 3.12): "
            'pip install "regcodec[train]"'
        )
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)


def use_threads(threads: int | None) -> None:
    """Let torch have so many threads; None leaves it what it takes."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
