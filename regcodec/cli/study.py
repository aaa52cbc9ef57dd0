"""`regcodec study`: studies that train and measure many runs."""

from __future__ import annotations

import click

from regcodec.cli.study_regularizer import regularizer


@click.group()
def study() -> None:
    """Train and measure many runs, compare them, and write the tables."""


study.add_command(regularizer)
