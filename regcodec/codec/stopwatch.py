"""Where the time of an encode or decode goes, for `eval` and the benchmarks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Adds up seconds under the names transform, entropy and coder, and those of the command line."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def line(self, total: float) -> str:
        """Return `total` seconds and their parts, which add up to it, as a person reads them."""
        parts = {**self.seconds, "other": max(total - sum(self.seconds.values()), 0.0)}
        return f"{total:.2f} s ({', '.join(f'{name} {seconds:.2f}' for name, seconds in parts.items())})"

    def laps(self, name: str, source: Iterator[T]) -> Iterator[T]:
        """Yield what `source` yields, adding the time it takes to make each to `name`."""
        while True:
            with self.lap(name):
                item = next(source, None)
            if item is None:
                return
            yield item
