"""`regcodec info`: what an .rgc file or a pack says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from regcodec.errors import PackNotFoundError, naming


@click.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def info(file: str, as_json: bool) -> None:
    """Describe FILE: an .rgc file, a pack, or the name of a pack at hand."""
    from regcodec.bitstream.container import MAGIC

    path = Path(file)
    if path.is_file():
        with path.open("rb") as opened:
            is_rgc = opened.read(4) == MAGIC[:4]
        facts = _rgc_facts(path) if is_rgc or path.suffix == ".rgc" else pack_facts(path)
    else:
        from regcodec.codec.library import find_pack

        facts = pack_facts(find_pack(file))
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name}: {value if isinstance(value, str | int | float) else json.dumps(value)}")


def _rgc_facts(path: Path) -> dict[str, Any]:
    from regcodec.bitstream.container import SYMBOLS, VERSION, read_rgc
    from regcodec.codec.library import find_pack_by_id
    from regcodec.codec.model import Model
    from regcodec.codec.pack import read_pack

    data = path.read_bytes()
    with naming(path):
        parsed = read_rgc(data)
    kinds = dict.fromkeys(chunk.type for chunk in parsed.chunks)
    facts: dict[str, Any] = {
        "file": str(path),
        "format": VERSION,
        "width": parsed.width,
        "height": parsed.height,
        "layout": parsed.layout.name,
        "bytes": len(data),
        "bpp": round(8 * len(data) / (parsed.width * parsed.height), 5),
        "pack_id": parsed.pack_id.hex(),
        "chunks": {kind.decode(): sum(len(c.payload) for c in parsed.chunks if c.type == kind) for kind in kinds},
        "tiles": sum(chunk.type == SYMBOLS for chunk in parsed.chunks),
    }
    try:
        pack = read_pack(find_pack_by_id(parsed.pack_id.hex()))
    except PackNotFoundError:
        return {**facts, "pack": "not found here", "quality_row": parsed.quality}
    table = Model.from_pack(pack).rates.qualities
    quality = table[parsed.quality] if parsed.quality < len(table) else "not in the pack"
    experimental = " (experimental)" if pack.manifest.get("experimental") else ""
    return {**facts, "pack": pack.name + experimental, "quality": quality}


def pack_facts(path: Path) -> dict[str, Any]:
    """Return what a pack says about itself, its manifest included."""
    from regcodec.codec.pack import read_pack

    pack = read_pack(path)
    return {
        "pack": pack.name,
        "file": str(path),
        "pack_id": pack.id,
        "bytes": path.stat().st_size,
        "architecture": pack.codec["architecture"],
        "network": pack.codec["network"],
        "qualities": [{"q": row.q, "lambda": row.lambda_} for row in pack.qualities],
        **pack.manifest,
    }
