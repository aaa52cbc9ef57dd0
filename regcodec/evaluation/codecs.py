"""The codecs that can be measured: packs of ours, one or several as one codec, and what Pillow carries.

    pixels   [H, W, 3] or [H, W]  uint8
    parts    seconds by name, filled by codecs that can tell: "encode_transform", "decode_coder", ...

A codec to measure is one class (docs/own_codec.md). To have a name of `eval --anchor` it is one entry of
`PILLOW_CODECS` where Pillow writes it, else also a line in `cli.evaluate._anchor`.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from regcodec import __version__
from regcodec.effort.levels import level_of
from regcodec.errors import RegcodecError, UsageError

if TYPE_CHECKING:
    from regcodec.codec.model import Model


class ImageCodec(Protocol):
    """What `sweep` needs of a codec."""

    @property
    def name(self) -> str:
        """Stands in tables, file names and plots."""

    @property
    def qualities(self) -> tuple[float, ...]:
        """Settings of the default ladder, smallest files first."""

    @property
    def suffix(self) -> str:
        """Of the files, with the dot."""

    @property
    def settings(self) -> str:
        """What decides its files beside its name: versions, options, the id of a pack."""

    def prepare(self) -> None:
        """Do what a process does once, before times are taken."""

    def encode(self, pixels: NDArray[np.uint8], quality: float, *, parts: dict[str, float] | None = None) -> bytes:
        """The bytes of one file."""

    def decode(self, data: bytes, *, parts: dict[str, float] | None = None) -> NDArray[np.uint8]:
        """The pixels of one file."""


@dataclass(frozen=True)
class PillowCodec:
    """One of Pillow's writers with fixed options and a ladder of its quality setting."""

    name: str
    format: str
    """Pillow's name of the format."""
    suffix: str
    qualities: tuple[float, ...]
    options: Mapping[str, Any]
    """Passed to `Image.save` beside the quality."""

    @property
    def settings(self) -> str:
        """Pillow, the library under it, and the options."""
        names = {"JPEG": "libjpeg_turbo", "WEBP": "webp", "AVIF": "avif"}
        library = features.version(names[self.format])
        return f"Pillow {PIL.__version__}, {self.format} {library}, {json.dumps(dict(self.options), sort_keys=True)}"

    def prepare(self) -> None:
        """Nothing: Pillow loads a format's library with its first file."""

    def encode(self, pixels: NDArray[np.uint8], quality: float, *, parts: dict[str, float] | None = None) -> bytes:
        """Encode at Pillow's `quality` (an integer). Raises `UsageError` when this Pillow lacks the format.

        Raises `RegcodecError` for a picture that the format cannot hold.
        """
        if self.format in ("WEBP", "AVIF") and not features.check(self.format.lower()):
            raise UsageError(f"This Pillow cannot write {self.name}. Install a Pillow wheel from PyPI (11.3 or newer).")
        if quality != int(quality) or not 0 <= quality <= 100:
            raise UsageError(f"{self.name} takes whole qualities from 0 to 100; got {quality:g}.")
        buffer = io.BytesIO()
        try:
            Image.fromarray(pixels).save(buffer, self.format, quality=int(quality), **self.options)
        except (OSError, ValueError) as error:
            height, width = pixels.shape[:2]
            raise RegcodecError(f"{self.name} cannot encode {width}x{height} pixels: {error}.") from error
        return buffer.getvalue()

    def with_threads(self, threads: int | None) -> PillowCodec:
        """Return this codec encoding with so many threads, where its library can have several."""
        if threads is None or self.format != "AVIF":
            return self
        return replace(self, options={**self.options, "max_threads": threads})

    def decode(self, data: bytes, *, parts: dict[str, float] | None = None) -> NDArray[np.uint8]:
        """Decode; a format without a grey mode gives [H, W, 3] for a grey image."""
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return np.asarray(image)


def _avif(name: str, speed: int, **tuning: Any) -> PillowCodec:
    """Return AVIF as one tile: of several, as Pillow makes them where it is not told, each costs bits.

    Without `tuning`, libavif's options, it is tuned as libavif chooses: from 1.4 on for perception.
    """
    options = {"subsampling": "4:4:4", "codec": "aom", "autotiling": False, **tuning}
    return PillowCodec(
        name=name,
        format="AVIF",
        suffix=".avif",
        qualities=(10, 20, 30, 40, 50, 60, 70, 80, 85),
        options={**options, "speed": speed},
    )


PILLOW_CODECS: dict[str, PillowCodec] = {
    codec.name: codec
    for codec in (
        PillowCodec(
            name="jpeg",
            format="JPEG",
            suffix=".jpg",
            qualities=(2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90),
            options={"optimize": True},  # chroma 4:2:0, the library's default and what people send
        ),
        PillowCodec(
            name="webp",
            format="WEBP",
            suffix=".webp",
            qualities=(0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90),
            options={"method": 6},
        ),
        _avif("avif", speed=6, advanced={"tune": "psnr"}),
        _avif("avif-slow", speed=2, advanced={"tune": "psnr"}),
        _avif("avif-perceptual", speed=6),
    )
}


@dataclass(frozen=True)
class PackCodec:
    """A pack through the encoder and decoder of `regcodec encode` and `decode`; each process opens it for itself."""

    path: Path
    threads: int | None = None
    """Of its networks; None is all cores."""
    pack_id: str | None = None
    """What the pack must be; None is any."""
    effort: int = 0
    """Of `regcodec encode --effort`."""
    suffix: str = ".rgc"

    @cached_property
    def model(self) -> Model:
        """The pack made ready; raises `RegcodecError` where it is another than it was."""
        from regcodec.codec.opened import model_for_encoding

        model = model_for_encoding(str(self.path), self.threads)
        if self.pack_id not in (None, model.pack.id):
            raise RegcodecError(f"{self.path}: was replaced while it was measured. Measure again.")
        return model

    def __reduce__(self) -> tuple[type[PackCodec], tuple[Path, int | None, str, int]]:
        return PackCodec, (self.path, self.threads, self.model.pack.id, self.effort)

    def prepare(self) -> None:
        """Load encoder and decoder, and open the pack."""
        import_module("regcodec.effort.search")
        import_module("regcodec.codec.decoder")
        _ = self.model

    @property
    def name(self) -> str:
        """The pack's name, and its effort where it has one."""
        return _with_effort(self.model.name, self.effort)

    @property
    def identity(self) -> str:
        """The pack's id, in words."""
        return f"pack {self.model.pack.id}"

    @property
    def settings(self) -> str:
        """The pack's id, this program, the library that runs the transforms, and the effort where there is one."""
        return _settings(self.identity, self.effort)

    @property
    def qualities(self) -> tuple[float, ...]:
        """The pack's qualities."""
        return tuple(self.model.qualities)

    def nearest(self, quality: float) -> float:
        """Return the quality that a value of -q stands for; raises `UsageError` for one that the pack has not."""
        rates = self.model.rates
        return rates.qualities[rates.row(quality)]

    def encode(self, pixels: NDArray[np.uint8], quality: float, *, parts: dict[str, float] | None = None) -> bytes:
        """Encode at `quality` (the scale of `regcodec encode -q`)."""
        from regcodec.codec.stopwatch import Stopwatch
        from regcodec.effort.search import encode_with_effort

        clock = Stopwatch()
        data = encode_with_effort(pixels, self.model, quality, effort=self.effort, clock=clock)
        _note(parts, "encode", clock.seconds)
        return data

    def decode(self, data: bytes, *, parts: dict[str, float] | None = None) -> NDArray[np.uint8]:
        """Decode a file of this pack."""
        from regcodec.codec.decoder import decode_pixels
        from regcodec.codec.stopwatch import Stopwatch

        clock = Stopwatch()
        pixels = decode_pixels(data, self.model, clock=clock)
        _note(parts, "decode", clock.seconds)
        return pixels


@dataclass(frozen=True)
class PackSeries:
    """Packs as one codec with the qualities of all: networks that were trained for one rate each."""

    packs: tuple[PackCodec, ...]
    """By rising quality, all of one effort; `of` makes it so."""
    suffix: str = ".rgc"

    @classmethod
    def of(cls, packs: Sequence[PackCodec]) -> Self:
        """Return packs in any order as one codec; raises `UsageError` where two have one quality."""
        series = cls(tuple(sorted(packs, key=lambda pack: pack.qualities)))
        for first, second in pairwise(sorted((q, place) for place, p in enumerate(series.packs) for q in p.qualities)):
            if first[0] == second[0]:
                names = " and ".join(str(series.packs[place].path) for _, place in (first, second))
                raise UsageError(f"{names} both have quality {first[0]:g}; as one codec each needs its own.")
        return series

    def prepare(self) -> None:
        """Load encoder and decoder, and open every pack."""
        for pack in self.packs:
            pack.prepare()

    @property
    def name(self) -> str:
        """The name of the pack of the lowest quality, and how many more there are: low+2."""
        first = self.packs[0]
        return _with_effort(f"{first.model.name}+{len(self.packs) - 1}", first.effort)

    @property
    def identity(self) -> str:
        """The packs' ids, in words."""
        return f"packs {' '.join(pack.model.pack.id for pack in self.packs)}"

    @property
    def settings(self) -> str:
        """What `PackCodec.settings` has, of all packs."""
        return _settings(self.identity, self.packs[0].effort)

    @property
    def qualities(self) -> tuple[float, ...]:
        """Those of all packs."""
        return tuple(sorted(quality for pack in self.packs for quality in pack.qualities))

    def nearest(self, quality: float) -> float:
        """Return the quality of a pack that a value stands for; raises `UsageError` for any between two."""
        nearest = min(self.qualities, key=lambda known: abs(known - quality))
        if not abs(nearest - quality) < 1e-6:
            raise UsageError(
                f"-q {quality:g}: {self.name} has qualities {', '.join(f'{q:g}' for q in self.qualities)}."
            )
        return nearest

    def encode(self, pixels: NDArray[np.uint8], quality: float, *, parts: dict[str, float] | None = None) -> bytes:
        """Encode with the pack that has the quality."""
        pack = next(pack for pack in self.packs if quality in pack.qualities)
        return pack.encode(pixels, quality, parts=parts)

    def decode(self, data: bytes, *, parts: dict[str, float] | None = None) -> NDArray[np.uint8]:
        """Decode with the pack that the file names."""
        from regcodec.bitstream.container import read_rgc

        named = read_rgc(data, every_tile=False).pack_id.hex()
        return next(pack for pack in self.packs if pack.model.pack.id == named).decode(data, parts=parts)


def _with_effort(name: str, effort: int) -> str:
    return f"{name} effort {effort}" if effort else name


def _settings(identity: str, effort: int) -> str:
    from regcodec.codec.transforms import runtime

    settings = f"{identity}, regcodec {__version__}, onnxruntime {runtime().__version__}"
    if effort:
        settings += f", effort {effort}"
    return settings + (f", torch {version('torch')}" if level_of(effort).needs_torch else "")


def _note(parts: dict[str, float] | None, walk: str, seconds: Mapping[str, float]) -> None:
    if parts is not None:
        parts.update({f"{walk}_{name}": value for name, value in seconds.items()})
