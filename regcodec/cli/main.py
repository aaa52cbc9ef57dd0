"""The `regcodec` command: a group that turns a `RegcodecError` or a failing disk into one line and its exit code."""

from __future__ import annotations

from typing import Any

import click

from regcodec.cli.decode import decode
from regcodec.cli.encode import encode
from regcodec.cli.evaluate import eval_command
from regcodec.cli.export import export
from regcodec.cli.info import info
from regcodec.cli.models import models
from regcodec.cli.study import study
from regcodec.cli.train import train
from regcodec.cli.verify import verify
from regcodec.cli.version import show_version
from regcodec.errors import RegcodecError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RegcodecError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            click.echo(f"Error: {error.filename or 'input or output'}: {error.strerror or error}.", err=True)
            ctx.exit(RegcodecError.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show this version, the formats, and the versions of what decides results.",
)
def main() -> None:
    """A learned image codec: real bitstreams, exact entropy coding.

    Exit codes: 0 done, 1 failure, 2 usage, 3 damaged or not an .rgc file, 4 pack not found, 5 over a limit.
    """


for _command in (encode, decode, eval_command, train, export, study, verify, info, models):
    main.add_command(_command)
