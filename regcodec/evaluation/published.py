"""Curves that others published, as anchors: JSON files of CompressAI's form.

    {"name": ..., "results": {"bpp": [...], "psnr-rgb": [...], "ms-ssim-rgb": [...]}}

Lists over the rates, each value an average over the images of the set. `psnr` and `ms-ssim` do as well, and so does
`ms-ssim-db-rgb`, in dB; one of PSNR and MS-SSIM must be there, other columns are not looked at. Nobody can check here
that the set is the same: the file's source has to say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regcodec.errors import UsageError
from regcodec.evaluation.metrics import ms_ssim_db
from regcodec.evaluation.summary import Average

SUFFIX = ".json"
PSNR, MS_SSIM, MS_SSIM_DB = ("psnr-rgb", "psnr"), ("ms-ssim-rgb", "ms-ssim"), ("ms-ssim-db-rgb", "ms-ssim-db")
"""Names of a column, the usual one first."""


def read_published(path: Path) -> list[Average]:
    """Return the curve of a file by rising rate, under the file's name; raises `UsageError` for any other file."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        rows = sorted(_rows(results))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a published curve of CompressAI's form ({error}).") from error
    return [_row(path.stem, place, *row) for place, row in enumerate(rows)]


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
