"""What `--effort 0..9` means. docs/effort.md has the measured figures; a new level is one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Integral

from regcodec.config import TRAIN_EXTRA
from regcodec.errors import RegcodecError, UsageError


@dataclass(frozen=True, kw_only=True)
class Level:
    weights: tuple[float, ...] = ()
    """Of `deadzone`, bits per squared step, each a candidate where the search finds nothing or there is none."""
    descent: int = 0
    """Iterations of `descent`."""
    proximal: int = 0
    """Iterations of `optimize.proximal`."""
    annealing: int = 0
    """Iterations of stochastic Gumbel annealing beside them (`optimize.annealing`); the better result is taken."""

    @property
    def needs_torch(self) -> bool:
        return bool(self.proximal)


LEVELS = (
    Level(),
    Level(weights=(60.0,), descent=2),
    Level(weights=(60.0, 30.0), descent=4),
    Level(weights=(60.0, 30.0, 20.0, 40.0, 14.0), descent=8),
    Level(weights=(30.0,), proximal=8),
    Level(weights=(30.0,), proximal=12),
    Level(weights=(30.0,), proximal=30),
    Level(weights=(30.0,), proximal=80, annealing=80),
    Level(weights=(30.0,), proximal=80, annealing=240),
    Level(weights=(30.0,), proximal=300, annealing=5000),
)


def level_of(effort: int) -> Level:
    """Return what an effort does; raises `UsageError` for one that there is not."""
    if isinstance(effort, bool) or not isinstance(effort, Integral) or not 0 <= effort < len(LEVELS):
        raise UsageError(f"effort {effort}: a whole number from 0 to {len(LEVELS) - 1}.")
    return LEVELS[effort]


def refuse_without_extra(effort: int) -> None:
    """Raise `RegcodecError` with the command that installs the `train` extra, unless it is there or not needed."""
    missing = [name for name in TRAIN_EXTRA if find_spec(name) is None] if level_of(effort).needs_torch else []
    if missing:
        raise RegcodecError(
            f"effort {effort} needs {', '.join(missing)}: take an effort of 0 to 3, or install the extra "
            '(Python 3.11 or 3.12): pip install "regcodec[train]"'
        )
