"""Curves that others published, as anchors: JSON files of CompressAI's form.

    {"dataset": ..., "images": ..., "results": {"bpp": [...], "psnr-rgb": [...], "ms-ssim-rgb": [...]}}

Lists over the rates, each value an average over the images of the set. `psnr` and `ms-ssim` do as well, and so does
`ms-ssim-db-rgb`, in dB; one of PSNR and MS-SSIM must be there, other columns are not looked at. `dataset` (a set's
name) and `images` (how many) may be missing, as in CompressAI's own files, which are of Kodak: then the file's source
has to say of which set the curve is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regcodec.errors import UsageError
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.metrics import ms_ssim_db
from regcodec.evaluation.summary import Average

SUFFIX = ".json"
PSNR, MS_SSIM, MS_SSIM_DB = ("psnr-rgb", "psnr"), ("ms-ssim-rgb", "ms-ssim"), ("ms-ssim-db-rgb", "ms-ssim-db")
"""Names of a column, the usual one first."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A curve, and of which images its file says that it is."""

    path: Path
    rows: list[Average]
    """By rising rate, under the file's name."""
    dataset: str | None
    """Name of the set; None where the file states none."""
    images: int | None

    def refuse_other(self, image_set: ImageSet) -> None:
        """Raise `UsageError` where the file says that the curve is of another set, or of another number of images."""
        count = len(image_set.paths)
        if self.dataset is not None and self.dataset.casefold() != image_set.name.casefold():
            raise UsageError(
                f"{self.path}: is a curve of {self.dataset}, not of {image_set.name} (a folder goes by its name)."
            )
        if self.images is not None and self.images != count:
            raise UsageError(f"{self.path}: is a curve of {self.images} images; {image_set.name} has {count} here.")

    def is_of(self, image_set: ImageSet) -> bool:
        """Return whether the curve is known to be of a set: one that it names, or a known one where it names none.

        Raises what `refuse_other` does.
        """
        self.refuse_other(image_set)
        return self.dataset is not None or image_set.checked


def read_published(path: Path) -> Published:
    """Return the curve of a file; raises `UsageError` for any other file."""
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        rows = sorted(_rows(file["results"]))
        dataset, images = file.get("dataset"), file.get("images")
        if not isinstance(dataset, str | None) or not (images is None or (type(images) is int and images > 0)):
            raise ValueError("dataset is a name and images a number")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a published curve of CompressAI's form ({error}).") from error
    averages = [_row(path.stem, place, *row) for place, row in enumerate(rows)]
    return Published(path=path, rows=averages, dataset=dataset, images=images)


def _rows(results: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Return bpp, PSNR and MS-SSIM of every rate, nan where a column is not there; raises `ValueError`."""
    rates = _column(results, ("bpp",))
    decibels, similarities, logarithmic = (_column(results, names) for names in (PSNR, MS_SSIM, MS_SSIM_DB))
    if not rates or not (decibels or similarities or logarithmic):
        raise ValueError(f"it needs bpp and {PSNR[0]} or {MS_SSIM[0]}, and has {', '.join(results) or 'nothing'}")
    if not similarities:
        similarities = [1 - 10 ** (-value / 10) for value in logarithmic]
    unknown = [math.nan] * len(rates)
    rows = list(zip(rates, decibels or unknown, similarities or unknown, strict=True))
    if not all(0 < bpp < math.inf for bpp in rates) or any(value > 1 for value in similarities):
        raise ValueError("a rate is not above 0, or an MS-SSIM above 1")
    return rows


def _column(results: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    found: Sequence[float] = next((results[name] for name in names if results.get(name)), ())
    return [float(value) for value in found]


def _row(name: str, place: int, bpp: float, psnr: float, ms_ssim: float) -> Average:
    unknown: dict[str, Any] = {"encode_seconds": math.nan, "decode_seconds": math.nan, "parts": {}, "images": 0}
    return Average(
        codec=name,
        quality=place,
        bpp=bpp,
        psnr=psnr,
        ms_ssim=ms_ssim,
        ms_ssim_db=ms_ssim_db(ms_ssim),
        ms_ssim_bpp=bpp,
        **unknown,
    )
