"""A folder of images, decoded once into one memory-mapped file, so that every crop is a read.

    KEY.pixels   every image's RGB bytes, one after another
    KEY.json     for each image: path, offset, height, width

KEY is a hash of the files' paths, sizes and times: a changed folder gets a new cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regcodec.codec.reading import read_picture
from regcodec.errors import RegcodecError, UsageError
from regcodec.files import atomic_path, files_below

SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    )
)


SAY_EVERY = 100  # images


def default_cache_dir() -> Path:
    """Return the user's cache folder for decoded images."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regcodec" / "images"


@dataclass(frozen=True)
class ImageCache:
    """Decoded images; `cache[i]` is uint8 [H, W, 3], a view of the memory-mapped file."""

    pixels: np.memmap
    offsets: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    digest: str
    """Of the folder's index: names and sizes of the images, in order."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        height, width = self.shapes[index]
        start = self.offsets[index]
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def subset(self, indices: list[int]) -> ImageCache:
        """Return the images at `indices`, over the same file."""
        offsets, shapes = tuple(self.offsets[i] for i in indices), tuple(self.shapes[i] for i in indices)
        return ImageCache(self.pixels, offsets, shapes, self.digest)


def list_images(folder: Path) -> list[Path]:
    """Return the image files under `folder` at any depth, sorted; none is a `UsageError`.

    A folder below it that cannot be read is a `RegcodecError`.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a directory. Name a folder of images.")
    images = (p for p in files_below(folder) if p.suffix.lower() in SUFFIXES and p.is_file())
    found = sorted(images, key=lambda p: p.parts)  # not by the paths: Windows compares them without case
    if not found:
        raise UsageError(f"{folder}: holds no images ({' '.join(sorted(SUFFIXES))}).")
    return found


def open_cache(
    folder: Path, cache_dir: Path, *, smallest: int, say: Callable[[str], None] = lambda _: None
) -> ImageCache:
    """Decode the images under `folder` unless `cache_dir` has them already; leave out sides under `smallest` pixels."""
    paths = list_images(folder)
    stamps = [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    key = hashlib.sha256(json.dumps([str(folder.resolve()), stamps]).encode()).hexdigest()[:16]
    index_path = cache_dir / f"{key}.json"
    pixels_path = cache_dir / f"{key}.pixels"
    if not index_path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        _decode_all(folder, paths, pixels_path, index_path, say)
    rows = json.loads(index_path.read_text())
    kept = [r for r in rows if min(r["height"], r["width"]) >= smallest]
    if not kept:
        raise UsageError(f"{folder}: no image has both sides of at least {smallest} pixels.")
    if len(kept) < len(rows):
        say(f"{len(rows) - len(kept)} of {len(rows)} images are smaller than {smallest} pixels and left out")
    return ImageCache(
        np.memmap(pixels_path, np.uint8, "r"),
        tuple(r["offset"] for r in kept),
        tuple((r["height"], r["width"]) for r in kept),
        hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16],
    )


def _too_much(cache_dir: Path, more: int) -> str:
    """Return a warning where `more` bytes, as images of the same sizes will take, do not fit; else nothing."""
    free = shutil.disk_usage(cache_dir).free
    if more <= free:
        return ""
    return f"; the rest may take {more / 1e9:.0f} GB, {free / 1e9:.0f} GB are free in {cache_dir} (see --cache)"


def _decode_all(
    folder: Path, paths: list[Path], pixels_path: Path, index_path: Path, say: Callable[[str], None]
) -> None:
    rows = []
    offset = 0
    with atomic_path(pixels_path) as temporary, temporary.open("wb") as out:
        for number, path in enumerate(paths):
            try:
                pixels = read_picture(path.read_bytes(), depth=8).pixels
            except (RegcodecError, OSError) as error:
                say(f"{path}: left out ({error})")
                continue
            if pixels.ndim == 2:
                pixels = np.repeat(pixels[:, :, None], 3, axis=2)
            out.write(pixels.tobytes())
            height, width = pixels.shape[:2]
            rows.append(
                {"path": path.relative_to(folder).as_posix(), "offset": offset, "height": height, "width": width}
            )
            offset += pixels.nbytes
            if number % SAY_EVERY == SAY_EVERY - 1:
                more = offset * (len(paths) - number - 1) // (number + 1)
                say(f"decoded {number + 1} of {len(paths)} images{_too_much(pixels_path.parent, more)}")
        if not rows:
            raise RegcodecError(f"{folder}: no image could be read.")
    with atomic_path(index_path) as temporary:
        temporary.write_text(json.dumps(rows))
