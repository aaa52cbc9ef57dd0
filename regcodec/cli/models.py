"""`regcodec models`: the packs at hand and their cards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from regcodec.cli.info import pack_facts, training_runs, well_formed
from regcodec.cli.streams import printable
from regcodec.errors import RegcodecError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a pack, with its whole manifest.")
def models(as_json: bool) -> None:
    """List the packs at hand with their cards; regcodec info NAME tells all of one.

    Packs are looked for in $REGCODEC_MODELS (folders and packs, separated as in PATH), in the installed package, and in
    models/ of a checkout. Of two with one name the first is taken: an older pack that is kept for its
    files wants a name of its own.
    """
    from regcodec.codec.library import DEFAULT, pack_folders, packs

    at_hand = packs()
    if not at_hand and not as_json:
        searched = ", ".join(str(folder) for folder in pack_folders()) or "no folders"
        click.echo(f"No packs are at hand ({searched}). Set REGCODEC_MODELS.", err=True)
    for name, path in at_hand.items():
        click.echo(_said(path, default=name == DEFAULT, as_json=as_json))


def _said(path: Path, *, default: bool, as_json: bool) -> str:
    """Return the object or the card of a pack, or of what is wrong with it."""
    try:
        facts = {**pack_facts(path), "default": default}
        with well_formed(path):
            lines = list(card(facts))
    except (RegcodecError, OSError) as error:
        said = f"{path}: {error.strerror or error}." if isinstance(error, OSError) else str(error)
        facts = {"pack": path.stem, "file": str(path), "error": said, "default": default}
        lines = [_title(facts), f"    {said}"]
    return json.dumps(facts) if as_json else "\n".join(map(printable, lines))


def _title(facts: dict[str, Any]) -> str:
    return str(facts["pack"]) + (" (default)" if facts["default"] else "")


def card(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a pack in the list, from `pack_facts` and whether it is the default."""
    yield _title(facts)
    state = ", experimental" if facts.get("experimental") else ""
    yield f"    {facts['architecture']}, {facts['bytes'] / 1e6:.1f} MB, id {facts['pack_id']}{state}"
    yield "    qualities " + " ".join(f"{row['q']:g}" for row in facts["qualities"]) + _between(facts)
    if facts.get("training"):
        yield "    " + _training(facts)
    yield f"    {facts['file']}"


def _between(facts: dict[str, Any]) -> str:
    step = facts.get("quality_step")
    return f", and between in steps of {step:g}" if step else ""


def _training(facts: dict[str, Any]) -> str:
    """Return one line on how a pack was trained: all of its runs, from the first weights on."""
    steps: Counter[str] = Counter()
    for run in training_runs(facts):
        steps[run["regularizer"]] += run["steps"]
    total, regularized = steps.total(), {name: count for name, count in steps.items() if name != "none" and count}
    said = f"trained for {total:,} steps"
    if data := facts["training"].get("data"):
        said += f" on {data.get('images', '?')} images"
    for name, count in regularized.items():
        said += f", {'all' if count == total else f'{count:,} of them'} with {name}"
    return said
