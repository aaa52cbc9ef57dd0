"""Measuring a codec: every image at every quality, through files that are really written and read back.

    bpp        bits of the file written, over the pixels of the image
    seconds    wall-clock, inside the process, without reading and writing the file; median of the repeats
    parts      medians of what the codec tells apart: "encode_transform", "decode_coder", ...

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, as_completed
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite, nan
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regcodec.codec.picture import Picture
from regcodec.codec.reading import read_picture
from regcodec.errors import RegcodecError, naming
from regcodec.evaluation.codecs import ImageCodec
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.metrics import ms_ssim, psnr


@dataclass(frozen=True, kw_only=True)
class Point:
    """One image at one quality."""

    codec: str
    image: str
    quality: float
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    bytes: int
    """Size of the file, as the file system gives it."""
    bpp: float
    psnr: float
    """dB; inf when lossless."""
    ms_ssim: float
    """0 to 1; nan when a side is below 161 pixels."""
    encode_seconds: float
    decode_seconds: float
    parts: dict[str, float]
    """Seconds by part; empty for codecs that cannot tell."""

    def row(self) -> dict[str, Any]:
        """Return the fields for a line of JSON; null for what is not finite."""
        values = asdict(self).items()
        return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in values}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the point of a line, whatever else it holds; raises `KeyError` for what is missing."""
        values = {field.name: row[field.name] for field in fields(cls)}
        absent = {"psnr": inf, "ms_ssim": nan}
        return cls(**values | {name: value for name, value in absent.items() if values[name] is None})


def sweep(
    codec: ImageCodec,
    image_set: ImageSet,
    qualities: Sequence[float],
    *,
    work_dir: Path,
    repeats: int = 1,
    on_point: Callable[[Point], None] = lambda _: None,
    on_image: Callable[[list[Point]], None] = lambda _: None,
    submit: Callable[[Callable[[], list[Point]]], Future[list[Point]]] | None = None,
) -> list[Point]:
    """Measure `codec` on every image (outer) at every quality (inner); the files stay in `work_dir`/NAME.

    `on_point` is called after each measurement, for progress; where `submit` hands images out to processes, after
    each image. `on_image` gets the points of an image as soon as all are there. Raises `RegcodecError` when an image
    cannot be read, when a codec gives back another size than it was given, or when a process dies.
    """
    folder = work_dir / codec.name
    folder.mkdir(parents=True, exist_ok=True)
    images = [
        _Image(codec, path, image_set.label(path), folder / f"{index:04d}", tuple(qualities), repeats)
        for index, path in enumerate(image_set.paths)
    ]
    found: list[list[Point]] = [[] for _ in images]
    if submit is None:
        for place, image in enumerate(images):
            found[place] = image.points(on_point)
            on_image(found[place])
        return [point for points in found for point in points]
    try:
        futures = {submit(image.points): place for place, image in enumerate(images)}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            on_image(future.result())
            for point in future.result():
                on_point(point)
    except BrokenExecutor as error:
        raise RegcodecError("a process died; there may be too little memory. Try fewer --jobs.") from error
    return [point for points in found for point in points]


@dataclass(frozen=True)
class _Image:
    """One image to measure, as it is sent to a process."""

    codec: ImageCodec
    path: Path
    label: str
    file: Path
    """Of which the files made are named, with their qualities."""
    qualities: tuple[float, ...]
    repeats: int

    def points(self, on_point: Callable[[Point], None] = lambda _: None) -> list[Point]:
        pixels = load_pixels(self.path)
        self.codec.prepare()
        found = []
        for quality in self.qualities:
            file = self.file.with_name(f"{self.file.name}-q{quality:g}{self.codec.suffix}")
            found.append(_measure(self.codec, self.label, pixels, quality, file, self.repeats))
            on_point(found[-1])
        return found


def load_picture(path: Path) -> Picture:
    """Read an image; raises `RegcodecError` when Pillow cannot or when it has more than 8 bits a sample."""
    with naming(path):
        return read_picture(path.read_bytes())


def load_pixels(path: Path) -> NDArray[np.uint8]:
    """The image as [H, W] for grey and [H, W, 3] for everything else; alpha is dropped, a palette is looked up.

    Raises what `load_picture` does.
    """
    return load_picture(path).pixels


def _measure(
    codec: ImageCodec, label: str, pixels: NDArray[np.uint8], quality: float, file: Path, repeats: int
) -> Point:
    encode_seconds, decode_seconds, parts = [], [], []
    for _ in range(repeats):
        part: dict[str, float] = {}
        start = time.perf_counter()
        data = codec.encode(pixels, quality, parts=part)
        encode_seconds.append(time.perf_counter() - start)
        file.write_bytes(data)
        data = file.read_bytes()
        start = time.perf_counter()
        decoded = codec.decode(data, parts=part)
        decode_seconds.append(time.perf_counter() - start)
        parts.append(part)
    if decoded.shape[:2] != pixels.shape[:2]:
        raise RegcodecError(f"{file}: decodes to {decoded.shape[:2]} rows and columns; {label} has {pixels.shape[:2]}.")
    if pixels.ndim == 2 and decoded.ndim == 3:  # a format without a grey mode
        decoded = np.asarray(Image.fromarray(decoded).convert("L"))
    height, width = pixels.shape[:2]
    size = file.stat().st_size
    return Point(
        codec=codec.name,
        image=label,
        quality=quality,
        width=width,
        height=height,
        bytes=size,
        bpp=size * 8 / (width * height),
        psnr=psnr(pixels, decoded),
        ms_ssim=ms_ssim(pixels, decoded),
        encode_seconds=median(encode_seconds),
        decode_seconds=median(decode_seconds),
        parts={name: median(part[name] for part in parts) for name in parts[0]},
    )
