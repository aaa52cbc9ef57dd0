"""`regcodec study`: experiments of the papers, one command each; they need the extra `train`."""

from __future__ import annotations

import click

from regcodec.cli.study_bound import bound
from regcodec.cli.study_gap import gap
from regcodec.cli.study_regularizer import regularizer


@click.group()
def study() -> None:
    """Experiments of the papers on packs and runs; needs the extra train."""


study.add_command(regularizer)
study.add_command(bound)
study.add_command(gap)
