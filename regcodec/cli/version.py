"""`--version`: this program, the formats it reads, and the libraries that decide what it writes and shows."""

from __future__ import annotations

import platform

import click

from regcodec import __version__

DECIDING = ("numpy", "constriction", "onnxruntime", "pillow")
"""Symbols: numpy and constriction, the same everywhere. Pixels: onnxruntime, by one level. Image files: pillow."""


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the versions and end (a click callback)."""
    if not wanted or ctx.resilient_parsing:
        return
    from regcodec.bitstream.container import VERSION
    from regcodec.codec.pack import FORMAT

    click.echo(f"regcodec, version {__version__}")
    click.echo(f".rgc format {VERSION}, pack format {FORMAT}")
    click.echo(", ".join(f"{name} {_installed(name)}" for name in DECIDING))
    click.echo(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    ctx.exit()


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # 30 ms, which no other command waits for

    try:
        return version(name)
    except PackageNotFoundError:  # onnxruntime comes under other names too
        return "(version unknown)"
