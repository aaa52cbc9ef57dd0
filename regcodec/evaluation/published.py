"""Curves that others published, as anchors: JSON files of CompressAI's form.

    {"name": ..., "results": {"bpp": [...], "psnr-rgb": [...], "ms-ssim-rgb": [...]}}

Lists over the rates, each value an average over the images of the set; only bpp and psnr-rgb must be there. Nobody can
check here that the set is the same: the file's source has to say so.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from regcodec.errors import UsageError
from regcodec.evaluation.metrics import ms_ssim_db
from regcodec.evaluation.summary import Average

SUFFIX = ".json"


def read_published(path: Path) -> list[Average]:
    """Return the curve of a file by rising rate, under the file's name; raises `UsageError` for any other file."""
    try:
        results = json.loads(path.read_text())["results"]
        columns = {name: [float(value) for value in values] for name, values in results.items() if values}
        rates, decibels = columns["bpp"], columns["psnr-rgb"]
        similarities = columns.get("ms-ssim-rgb", [math.nan] * len(rates))
        rows = sorted(zip(rates, decibels, similarities, strict=True))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a published curve of CompressAI's form ({error}).") from error
    return [_row(path.stem, place, *row) for place, row in enumerate(rows)]


def _row(name: str, place: int, bpp: float, psnr: float, ms_ssim: float) -> Average:
    unknown: dict[str, Any] = {"encode_seconds": math.nan, "decode_seconds": math.nan, "parts": {}, "images": 0}
    return Average(
        codec=name,
        quality=place,
        bpp=bpp,
        psnr=psnr,
        ms_ssim=ms_ssim,
        ms_ssim_db=ms_ssim_db(ms_ssim),
        **unknown,
    )
