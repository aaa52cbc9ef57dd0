"""Puts the default pack and its vanilla twin into the wheel; everything else stands in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

EMBEDDED = ("res-context.rgm", "res-context-vanilla.rgm")


class BuildWithPacks(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout finds models/ itself
        target = Path(self.build_lib) / "regcodec" / "packs"
        target.mkdir(parents=True, exist_ok=True)
        for name in EMBEDDED:
            shutil.copyfile(Path("models") / name, target / name)


setup(cmdclass={"build_py": BuildWithPacks})
