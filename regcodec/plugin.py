"""The Pillow plugin: `Image.open("x.rgc")` and `image.save("x.rgc", quality=3)` after `import regcodec`.

Opening reads container and metadata; the pixels are decoded when they are first needed. Only Pillow is imported here,
and the rest by name at that moment, so that `import regcodec` stays quick. The package's `__init__` imports this file.
"""

from __future__ import annotations

from importlib import import_module
from typing import IO, Any

from PIL import Image, ImageFile

from regcodec.bitstream.container import ALPHA, MAGIC, Layout, read_rgc

FORMAT = "RGC"
MIME = "image/x-regcodec"
SUFFIX = ".rgc"
_OPTIONS = (
    "quality",
    "target_size",
    "target_bpp",
    "target_psnr",
    "model",
    "strip",
    "depth",
    "threads",
    "effort",
    "max_pixels",
)
"""Keyword arguments of save that are those of `regcodec.encode`."""
_METADATA = ("icc_profile", "exif", "xmp")
"""Keyword arguments of save that replace what the image has."""


class RgcImageFile(ImageFile.ImageFile):
    """An .rgc file as Pillow sees it; failures are `RegcodecError`, as everywhere."""

    format = FORMAT
    format_description = "regcodec"
    _coded = b""

    def _open(self) -> None:
        if self.fp is None:
            raise SyntaxError("no file")
        self._coded = self.fp.read()
        file = read_rgc(self._coded)
        has_alpha = file.optional_chunk(ALPHA) is not None
        self._size = file.width, file.height
        self._mode = {Layout.RGB: "RGB", Layout.GREY: "L"}[file.layout]
        if has_alpha:
            self._mode = {"RGB": "RGBA", "L": "LA"}[self._mode]
        found = import_module("regcodec.codec.picture").metadata(file)
        self.info.update(import_module("regcodec.codec.writing").to_info(**found))

    def load(self) -> Any:
        """Decode the pixels, once, and close a file that Pillow opened."""
        if self._coded:
            self.im = import_module("regcodec.api").decode(self._coded).im
            self._coded = b""
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
                self.fp = None
        return super().load()


def register() -> None:
    """Make Pillow know the format."""
    Image.register_open(FORMAT, RgcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, target: IO[bytes], filename: str | bytes) -> None:
    given: dict[str, Any] = getattr(image, "encoderinfo", {})
    replaced = {name: given[name] for name in _METADATA if name in given}
    if replaced:
        exif = import_module("regcodec.codec.reading").exif_of(image)
        image = image.copy()  # which has not the directory of a TIFF any more
        if exif is not None:
            image.info["exif"] = exif
        image.info.update({n: v.tobytes() if isinstance(v, Image.Exif) else v for n, v in replaced.items()})
    options = {name: given[name] for name in _OPTIONS if name in given}
    target.write(import_module("regcodec.api").encode(image, **options))
