"""Models of packs, each opened once a process. Anyone above `codec` may import this file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from regcodec.bitstream.container import RgcFile
from regcodec.codec.library import find_pack, find_pack_by_id
from regcodec.codec.model import Model
from regcodec.codec.pack import stated_id


def model_for_encoding(name_or_path: str | None, threads: int | None) -> Model:
    """Return a model by the pack's file or name; None is the default pack.

    Raises `PackNotFoundError`, `DamagedPackError`.
    """
    path = find_pack(name_or_path)
    return _open(path, stated_id(path), path.stat().st_mtime_ns, threads)


def model_for_decoding(file: RgcFile, name_or_path: str | None, threads: int | None) -> Model:
    """Return the model that an .rgc file names, or the one that the user names."""
    path = find_pack_by_id(file.pack_id.hex()) if name_or_path is None else find_pack(name_or_path)
    return _open(path, stated_id(path), path.stat().st_mtime_ns, threads)


@lru_cache(maxsize=4)
def _open(path: Path, pack_id: str | None, changed: int, threads: int | None) -> Model:
    """Id and time of the last change are keys: a pack replaced by another, or by another manifest, is opened anew."""
    return Model.open(path, threads=threads)
