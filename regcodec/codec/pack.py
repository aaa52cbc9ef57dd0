"""The pack: one file with everything a decoder needs and nothing else (docs/format.md).

A stored ZIP with, in this order:

    codec.json           normative  architecture, quality table, fixed-point constants
    analysis.onnx        normative  x -> y
    hyper_analysis.onnx  normative  y -> z
    synthesis.onnx       normative  y_hat -> x_hat
    entropy.npz          normative  integer networks, medians, thresholds, frequency tables
    bottleneck.npz                  the factorized prior's parameters, read by training only
    manifest.json                   provenance and measured figures

The pack id is the first 8 bytes of SHA-256 over the normative members. It also stands in the ZIP comment, so that a
folder of packs can be searched without hashing; reading a pack checks it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from regcodec.codec.archive import read_archive, read_arrays
from regcodec.errors import DamagedPackError, PackNotFoundError, naming

FORMAT = 1
NORMATIVE = ("codec.json", "analysis.onnx", "hyper_analysis.onnx", "synthesis.onnx", "entropy.npz")
TRAINING_ONLY = "bottleneck.npz"
MANIFEST = "manifest.json"
MEMBERS = (*NORMATIVE, TRAINING_ONLY, MANIFEST)
SUFFIX = ".rgm"
_COMMENT = b"regcodec pack "
LARGEST_JSON = 1 << 22
"""Bytes."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Quality:
    """One row of the quality table."""

    q: float
    lambda_: float
    gain: int
    """Inverse step in units of 2^-gain_bits."""


@dataclass(frozen=True)
class Pack:
    """A pack read into memory; `id` is 16 hexadecimal digits."""

    name: str
    id: str
    codec: dict[str, Any]
    manifest: dict[str, Any]
    members: dict[str, bytes]

    @property
    def qualities(self) -> tuple[Quality, ...]:
        return tuple(Quality(row["q"], row["lambda"], row["gain"]) for row in self.codec["qualities"])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of entropy.npz."""
        with naming("the pack's entropy.npz"):
            return read_arrays(self.members["entropy.npz"])


def pack_id(members: dict[str, bytes]) -> str:
    """Return the id of a pack with these members."""
    digest = hashlib.sha256()
    for name in NORMATIVE:
        digest.update(f"{name}\0{len(members[name])}\0".encode())
        digest.update(members[name])
    return digest.digest()[:8].hex()


def pack_bytes(members: dict[str, bytes], manifest: dict[str, Any]) -> bytes:
    """Return the pack file; equal arguments give equal bytes."""
    contents = {**members, MANIFEST: json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in MEMBERS:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), contents[name])
        archive.comment = _COMMENT + pack_id(members).encode()
    return buffer.getvalue()


def read_pack(path: Path) -> Pack:
    """Read and check a pack; errors name the path."""
    if not path.is_file():
        raise PackNotFoundError(f"{path}: no such pack.")
    with naming(path):
        with naming("not a regcodec pack"), path.open("rb") as file:
            members, stated = read_archive(file, most=len(MEMBERS), comment=len(_COMMENT) + 16)
            if set(members) != set(MEMBERS):
                raise DamagedPackError(f"its members are not {', '.join(MEMBERS)}.")
            codec, manifest = (_json(name, members[name]) for name in ("codec.json", MANIFEST))
            del members[MANIFEST]
        found = pack_id(members)
        if stated != _COMMENT + found.encode():
            raise DamagedPackError("the pack is damaged: its id does not match its contents.")
        if codec.get("format") != FORMAT:
            raise DamagedPackError(
                f"the pack has format {codec.get('format')}, this program reads {FORMAT}. Update regcodec."
            )
        return Pack(path.stem, found, codec, manifest, members)


def _json(name: str, text: bytes) -> dict[str, Any]:
    if len(text) > LARGEST_JSON:
        raise DamagedPackError(f"{name} has more than {LARGEST_JSON:,} bytes.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedPackError(f"{name} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise DamagedPackError(f"{name} is not a JSON object.")
    return value


def stated_id(path: Path) -> str | None:
    """Return the id that a pack file states about itself without reading it all; None if it is no pack."""
    length = len(_COMMENT) + 16
    try:
        with path.open("rb") as file:
            file.seek(-length, io.SEEK_END)
            comment = file.read()
    except OSError:
        return None
    return comment[len(_COMMENT) :].decode("ascii", "replace") if comment.startswith(_COMMENT) else None
