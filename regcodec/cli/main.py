"""The `regcodec` command: a group that turns a `RegcodecError` or a failing disk into one line and its exit code."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import click

from regcodec.cli.streams import let_messages_be_lost, let_output_be_lost, printable
from regcodec.cli.version import show_version
from regcodec.errors import RegcodecError

COMMANDS = {
    "encode": "encode",
    "decode": "decode",
    "eval": "evaluate:eval_command",
    "train": "train",
    "export": "export",
    "study": "study",
    "verify": "verify",
    "info": "info",
    "models": "models",
}
"""Command -> module below `regcodec.cli`, and the function in it where that has another name."""


INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C."""


class _Commands(MutableMapping[str, click.Command]):
    """`COMMANDS`, each loaded when it is asked for: none waits for the others' modules."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, function = COMMANDS[name].partition(":")
        found: click.Command = getattr(import_module(f"regcodec.cli.{module}"), function or name)
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        raise TypeError("a command is a line in COMMANDS")

    def __delitem__(self, name: str) -> None:
        raise TypeError("a command is a line in COMMANDS")

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RegcodecError as error:
            click.echo(printable(f"Error: {error}"), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and ctx.invoked_subcommand in ("info", "models"):
                raise  # a reader of their lines has seen enough: click ends without a word
            let_output_be_lost()
            where = error.filename or "input or output"
            click.echo(printable(f"Error: {where}: {error.strerror or error}."), err=True)
            ctx.exit(RegcodecError.exit_code)


@click.group(
    cls=_Group, commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
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

    Exit codes: 0 done, 1 failure, 2 usage, 3 damaged or not an .rgc file, 4 pack not found or damaged, 5 over
    a limit, 130 Ctrl-C.
    """


def run(prog_name: str | None = None) -> None:
    """Run `main` as this process, which ends without a last search for cycles in all that modules and a pack made.

    After Ctrl-C it ends by that very signal: a shell goes on with its loop after a command that merely exits.
    """
    atexit.register(gc.freeze)
    let_messages_be_lost()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that a terminal's encoding does not have
    try:
        main(prog_name=prog_name)
    except SystemExit as end:
        if end.code == INTERRUPTED and os.name != "nt":  # where the code would be 3
            let_output_be_lost()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        raise
    except OSError as error:  # of the help or the version, which come before any command
        let_output_be_lost()
        click.echo(f"Error: standard output: {error.strerror or error}.", err=True)
        sys.exit(RegcodecError.exit_code)
