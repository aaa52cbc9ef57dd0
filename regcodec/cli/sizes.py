"""Numbers of bytes as people write them: 40000, 40KB, 1.5 MB, 64KiB."""

from __future__ import annotations

import math
import re
from typing import Any

import click

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_FORM = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([kmg]i?)?b?", re.IGNORECASE)


class _Size(click.ParamType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _FORM.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no size; write 40000, 40KB or 64KiB.", param, ctx)
        size = float(found[1]) * _UNITS[(found[2] or "").lower()]
        if not math.isfinite(size):
            self.fail("no file is so large.", param, ctx)
        return int(size)


SIZE = _Size()
