"""`regcodec info`: what an .rgc file or a pack says about itself, as lines for a person or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

import click

from regcodec.cli.jobs import Failure
from regcodec.cli.paths import INPUT
from regcodec.cli.streams import STANDARD, printable, read_bytes
from regcodec.errors import (
    DamagedFileError,
    DamagedPackError,
    PackNotFoundError,
    RegcodecError,
    UsageError,
    naming,
)

if TYPE_CHECKING:
    from regcodec.codec.pack import Pack

CHUNK_NAMES = {"S": "symbols", "A": "alpha", "i": "ICC profile", "e": "Exif", "x": "XMP"}


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=INPUT)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file.")
@click.pass_context
def info(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Describe FILE: an .rgc file (- for one on standard input), a pack, or the name of a pack at hand."""
    if len(paths) == 1:
        _describe(paths[0], as_json)
        return
    if STANDARD in paths:
        raise UsageError("-, standard input, is an input on its own.")
    failed = False
    for place, path in enumerate(paths):
        try:
            _describe(path, as_json)
            if place + 1 < len(paths) and not as_json:
                click.echo()
        except BrokenPipeError:
            raise
        except (RegcodecError, OSError) as error:
            failed = True
            click.echo(printable(f"Error: {Failure.of(path, error).message}"), err=True)
    ctx.exit(1 if failed else 0)


def _describe(path: Path, as_json: bool) -> None:
    is_pack = path != STANDARD and not _is_rgc(path)
    facts = _found_pack_facts(path) if is_pack else _rgc_facts(path)
    if as_json:
        click.echo(json.dumps(facts))
        return
    if is_pack:
        with well_formed(path):
            rows = list(_pack_rows(facts))
    else:
        rows = list(_rgc_rows(facts))
    wide = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(printable(f"{name:{wide}}  {value}".rstrip()))


def _is_rgc(path: Path) -> bool:
    from regcodec.bitstream.container import MAGIC

    if path.is_fifo():
        return True  # read once, and only the file of a picture makes sense there
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return path.suffix == ".rgc" or opened.read(4) == MAGIC[:4]


def _found_pack_facts(path: Path) -> dict[str, Any]:
    from regcodec.codec.library import find_pack
    from regcodec.codec.pack import SUFFIX

    if path.is_file():
        if path.suffix != SUFFIX and not is_zipfile(path):
            raise DamagedFileError(f"{path}: is neither an .rgc file nor a pack.")
        return pack_facts(path)
    try:
        return pack_facts(find_pack(str(path)))
    except PackNotFoundError:
        if path.is_dir():
            raise UsageError(f"{path}: is a directory; name a file.") from None
        if path.suffix in (".rgc", SUFFIX) or len(path.parts) > 1:
            raise UsageError(f"{path}: does not exist.") from None
        raise


def _rgc_facts(path: Path) -> dict[str, Any]:
    from regcodec.bitstream.container import ALPHA, SYMBOLS, VERSION, read_rgc
    from regcodec.codec.metadata import NAMES
    from regcodec.codec.opened import model_for_decoding

    data = read_bytes(path)
    with naming(path):
        parsed = read_rgc(data)
    kinds = dict.fromkeys(chunk.type for chunk in parsed.chunks)
    facts: dict[str, Any] = {
        "file": str(path),
        "format": VERSION,
        "width": parsed.width,
        "height": parsed.height,
        "layout": parsed.layout.name,
        "alpha": ALPHA in kinds,
        "metadata": [name for kind, name in NAMES.items() if kind in kinds],
        "bytes": len(data),
        "bpp": round(8 * len(data) / (parsed.width * parsed.height), 5),
        "pack_id": parsed.pack_id.hex(),
        "chunks": {kind.decode(): sum(len(c.payload) for c in parsed.chunks if c.type == kind) for kind in kinds},
        "tiles": sum(chunk.type == SYMBOLS for chunk in parsed.chunks),
    }
    try:
        model = model_for_decoding(parsed, None, threads=None)
    except PackNotFoundError:
        return {**facts, "pack": "not found here", "quality_row": parsed.quality}
    except DamagedPackError:
        return {**facts, "pack": "cannot be used here", "quality_row": parsed.quality}
    table = model.rates.qualities
    quality = table[parsed.quality] if parsed.quality < len(table) else "not in the pack"
    experimental = " (experimental)" if model.pack.manifest.get("experimental") else ""
    return {**facts, "pack": model.name + experimental, "quality": quality}


def pack_facts(path: Path) -> dict[str, Any]:
    """Return what a pack says about itself, its manifest included."""
    from regcodec.codec.pack import read_pack

    pack = read_pack(path)
    with well_formed(path):
        return _facts(path, pack)


@contextmanager
def well_formed(path: Path) -> Iterator[None]:
    """Turn what comes of settings or a manifest that no export writes into `DamagedPackError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise DamagedPackError(f"{path}: what the pack says about itself is not well formed.") from error


def _facts(path: Path, pack: Pack) -> dict[str, Any]:
    own = {
        "pack": pack.name,
        "file": str(path),
        "pack_id": pack.id,
        "bytes": path.stat().st_size,
        "architecture": pack.codec["architecture"],
        "network": pack.codec["network"],
        "qualities": [{"q": row.q, "lambda": row.lambda_} for row in pack.qualities],
        "quality_step": _quality_step(pack.codec),
    }
    return {**own, **pack.manifest, **own}  # in this order, and no manifest speaks for the pack


def _quality_step(codec: dict[str, Any]) -> float | None:
    """Return how far apart the values of -q are that a pack has between those it was trained for; None without any."""
    grid = codec.get("rates")
    per_q = grid.get("per_q") if isinstance(grid, dict) else None
    return 1 / per_q if type(per_q) is int and per_q > 0 else None


Rows = Iterator[tuple[str, str]]


def _rgc_rows(facts: dict[str, Any]) -> Rows:
    colours = {"RGB": "RGB", "GREY": "grey"}[facts["layout"]] + (" with alpha" if facts["alpha"] else "")
    yield "file", facts["file"]
    yield "picture", f"{facts['width']}x{facts['height']}, {colours}"
    yield "size", f"{facts['bytes']:,} bytes, {facts['bpp']:.3f} bpp"
    yield (
        "quality",
        _plain(facts["quality"]) if "quality" in facts else f"row {facts['quality_row']} of its pack's table",
    )
    yield "pack", f"{facts['pack']}, id {facts['pack_id']}"
    yield "tiles", str(facts["tiles"])
    yield "metadata", ", ".join(facts["metadata"]) or "none"
    for place, (kind, size) in enumerate(facts["chunks"].items()):
        yield "" if place else "chunks", f"{kind} {CHUNK_NAMES.get(kind, 'unknown, left aside'):<12} {size:>12,} bytes"
    yield "format", str(facts["format"])


def _pack_rows(facts: dict[str, Any]) -> Rows:
    shown = {**facts, "init": training_runs(facts)[:-1] or "none"} if "init" in facts else facts
    for name, value in shown.items():
        if name == "context_curvature":
            value = f"{len(value)} numbers, in --json"
        if name == "quality_step" and value is None:
            value = "none between"
        yield from _shown("runs before" if name == "init" else name.replace("_", " "), value)


def training_runs(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what made a pack, from its manifest, first to last: each run began with the weights of the one before.

    Raises `DamagedPackError` for a manifest whose runs are not what an export writes.
    """
    runs: list[dict[str, Any]] = []
    stage: dict[str, Any] | None = facts
    try:
        while stage:
            if training := stage.get("training"):
                regularizer = training.get("regularizer", {}).get("name", "none")
                names = ("lr", "batch", "processes", "crop", "seed")
                kept = {name: training[name] for name in names if name in training}
                steps = int(training.get("finished_steps", training.get("steps", 0)))
                runs.append({"steps": steps, **kept, "regularizer": regularizer})
            stage = stage.get("init")
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DamagedPackError(f"{facts['file']}: what its manifest says of training is not well formed.") from error
    return runs[::-1]


def _shown(name: str, value: Any) -> Rows:
    """Yield a row for a plain fact, a table for a list of objects, a block for an object."""
    if isinstance(value, dict) and value:
        yield name, ""
        for key, below in value.items():
            yield from _shown(f"  {key}".replace("_", " "), _in_a_line(below) if isinstance(below, dict) else below)
    elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = list(dict.fromkeys(key for row in value for key in row))
        cells = [columns, *([_plain(row.get(column, "")) for column in columns] for row in value)]
        wide = [max(10, *map(len, column)) + 2 for column in zip(*cells, strict=True)]
        for place, row in enumerate(cells):
            yield "" if place else name, "".join(f"{cell:>{w}}" for cell, w in zip(row, wide, strict=True))
    else:
        yield name, _plain(value)


def _in_a_line(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in facts.items())


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return " ".join(_plain(entry) for entry in value) or "none"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 100_000 else str(value)
