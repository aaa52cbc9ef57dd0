"""The tiny pack, open once, and the command line as a test calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from regcodec.cli.main import main
from regcodec.codec.model import Model

# What the tests claim to the bit holds on the processor, a GPU or not.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# Times on a shared machine say nothing about the code; the same examples every time, so that a failure is the change's.
settings.register_profile("regcodec", deadline=None, derandomize=True)
settings.load_profile("regcodec")

GOLDEN = Path(__file__).parent / "golden"
PACK = GOLDEN / "tiny.rgm"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden files."""
    return GOLDEN


@pytest.fixture(scope="session")
def pack() -> Path:
    """The tiny pack: N = 8, M = 12, qualities 1, 3 and 4."""
    return PACK


@pytest.fixture(scope="session")
def model() -> Model:
    return Model.open(PACK, threads=1)


@pytest.fixture
def only_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny pack be the only one at hand, in a folder of its own."""
    monkeypatch.setattr("regcodec.codec.library.pack_folders", lambda: [GOLDEN])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call `regcodec` in this process."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # --threads sets these: put them back

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments])

    return call


@pytest.fixture(scope="session")
def python() -> Callable[[str], str]:
    """Run code in a fresh interpreter and return what it prints."""

    def call(code: str) -> str:
        environment = {**os.environ, "REGCODEC_MODELS": str(GOLDEN)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call
