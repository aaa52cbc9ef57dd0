"""Where packs are found: --model FILE, $REGCODEC_MODELS, the installed package, models/ of a checkout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from regcodec.codec.pack import SUFFIX, stated_id
from regcodec.errors import PackNotFoundError
from regcodec.files import is_ordinary

DEFAULT = "res-context-vanilla"
TWIN_SUFFIX = "-vanilla"
_PACKAGE = Path(__file__).resolve().parent.parent


def pack_folders() -> list[Path]:
    """Return the folders searched, first found first served, and among them the packs that $REGCODEC_MODELS names."""
    listed = [Path(p) for p in os.environ.get("REGCODEC_MODELS", "").split(os.pathsep) if p]
    return list(filter(_has_packs, (*listed, _PACKAGE / "packs", _PACKAGE.parent / "models")))


def _has_packs(place: Path) -> bool:
    """Return False for what is no folder and no pack, or may not be looked at: the packs elsewhere serve without it."""
    try:
        return place.is_dir() or (place.suffix == SUFFIX and place.is_file())
    except OSError:
        return False


def packs() -> dict[str, Path]:
    """Return every pack at hand by name."""
    found: dict[str, Path] = {}
    for path in _files():
        found.setdefault(path.stem, path)
    return found


def _files() -> Iterator[Path]:
    for place in pack_folders():
        found = [place] if place.is_file() else sorted(place.glob(f"*{SUFFIX}"))
        yield from filter(is_ordinary, found)


def find_pack(name_or_path: str | None) -> Path:
    """Return a pack by file or by name; None is the default pack."""
    wanted = DEFAULT if name_or_path is None else name_or_path
    path = Path(wanted)
    if name_or_path is not None and path.is_file():
        return path
    at_hand = packs()
    if wanted in at_hand:
        return at_hand[wanted]
    raise PackNotFoundError(f"{wanted}: no such pack. {_at_hand()} Pass --model FILE or set REGCODEC_MODELS.")


def find_pack_by_id(pack_id: str) -> Path:
    """Return the pack that a file names."""
    for path in _files():
        if stated_id(path) == pack_id:
            return path
    raise PackNotFoundError(f"needs pack {pack_id}, not found. {_at_hand()} Pass --model FILE or set REGCODEC_MODELS.")


def find_twin(path: Path) -> Path:
    """Return the other pack of a pair, NAME-vanilla.rgm for NAME.rgm and back: beside it or among the packs at hand."""
    name = path.stem.removesuffix(TWIN_SUFFIX)
    kind, setting = "regularized", "--regularizer source-entropy --ratio 0.05"
    if name == path.stem:
        name, kind, setting = path.stem + TWIN_SUFFIX, "vanilla", "--regularizer none"
    beside = path.with_name(name + SUFFIX)
    if beside.is_file():
        return beside
    at_hand = packs()
    if name in at_hand:
        return at_hand[name]
    raise PackNotFoundError(
        f"{path}: has no {kind} twin {name}{SUFFIX}. Train it with the settings of the pack's manifest "
        f"(regcodec info {path}) and {setting}, and put it beside the pack."
    )


def _at_hand() -> str:
    listed = ", ".join(f"{name} ({stated_id(path) or 'damaged'})" for name, path in packs().items())
    return f"Packs here: {listed}." if listed else "No packs are at hand."
