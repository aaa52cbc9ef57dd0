"""Writes the generated files of this folder anew from the command line: `python share/make.py` (man page, completions).

The folder has the layout of PREFIX/share, where `pip install` puts all of it. A test fails when the man page is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from regcodec.cli.main import main

HERE = Path(__file__).resolve().parent
MAN = HERE / "man/man1/regcodec.1"
COMPLETIONS = {
    "bash": HERE / "bash-completion/completions/regcodec",
    "zsh": HERE / "zsh/site-functions/_regcodec",
    "fish": HERE / "fish/vendor_completions.d/regcodec.fish",
}


def man_page() -> str:
    """Return the man page of the whole command, in roff's man macros."""
    context = click.Context(main, info_name="regcodec", **main.context_settings)
    lines = ['.TH REGCODEC 1 "" "regcodec" "User Commands"', ".SH NAME"]
    lines += [r"regcodec \- a learned image codec with real bitstreams", ".SH SYNOPSIS"]
    lines += [
        ".B regcodec",
        r"\fICOMMAND\fR [\fIOPTIONS\fR] ...",
        ".SH DESCRIPTION",
        *_prose(main),
        *_options(main, context),
    ]
    lines += [".SH COMMANDS"]
    lines += _commands(main, context)
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B REGCODEC_MODELS",
        "Folders that are searched for packs first, and packs, separated as in PATH.",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    """Yield a section for each command of a group, those of groups in it after their own."""
    for name, command in sorted(group.commands.items()):
        below = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(below))
        yield from (f".SS {below.command_path} {_escaped(usage)}", *_prose(command), *_options(command, below))
        if isinstance(command, click.Group):
            yield from _commands(command, below)


def completion(shell: str) -> str:
    """Return click's completion script for a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise ValueError(shell)
    return found(main, {}, "regcodec", "_REGCODEC_COMPLETE").source() + "\n"


def _prose(command: click.Command) -> Iterator[str]:
    """Yield the help text by paragraph; one that click is told not to wrap keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", (command.help or "").strip()):
        kept = paragraph.lstrip().startswith("\b")
        rows = [_escaped(row.strip()) for row in paragraph.splitlines() if row.strip("\b ")]
        yield from [".PP", ".nf", *rows, ".fi"] if kept else [".PP", " ".join(rows)]


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.get_params(context):
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None:
            yield from (".TP", rf"\fB{_escaped(record[0])}\fR", _escaped(" ".join(record[1].split())))


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    MAN.write_text(man_page())
    for name, path in COMPLETIONS.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(completion(name))
