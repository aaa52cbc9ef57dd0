"""docs/comparison.md: every row about regcodec names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_of_the_comparison_names_tests_that_exist() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    rows = re.findall(r"^\| [^|]+\|.*\|$", (ROOT / "docs/comparison.md").read_text(), re.MULTILINE)
    assert len(rows) > 15
    for row in rows[1:]:
        named = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert named, row
        assert set(named) <= defined, row
