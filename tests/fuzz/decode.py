"""Coverage-guided fuzzing of the decoder: `python -m tests.fuzz.decode CORPUS [libFuzzer options]`.

    python -m tests.fuzz.decode /tmp/corpus -max_total_time=3600 -print_final_stats=1

Needs the extra `fuzz` (atheris, Linux). CORPUS is filled with the golden files and grows; what breaks a promise is
written beside it, into CORPUS-findings, with the traceback, and the run goes on. tests/fuzz/mutate.py makes the inputs.
The promises, for every input and with --max-pixels 4000000:

    outcome   a RegcodecError, or a picture of the size that the header states; as an image file, the same
    time      at most `SECONDS` of CPU
    memory    at most `MEMORY` resident: what the program has before the first input and what the input adds to it
"""

from __future__ import annotations

import io
import json
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["regcodec"]):
    from PIL import Image

    from regcodec import api
    from regcodec.bitstream.container import read_rgc
    from regcodec.codec.model import Model
    from regcodec.codec.picture import Picture, decode_picture
    from regcodec.codec.strip import strip
    from regcodec.codec.tiles import Box
    from regcodec.codec.writing import FORMATS, write_picture
    from regcodec.config import STRIPPABLE
    from regcodec.errors import RegcodecError

from tests.fuzz.mutate import Mutator

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MAX_PIXELS = 4_000_000
SECONDS = 20.0
MEMORY = 512 << 20
WRITTEN_PIXELS = 1 << 16
"""Larger pictures are not turned into image files."""


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class BrokenPromiseError(AssertionError):
    """What must never happen."""


class Target:
    """One call per input; counts outcomes and keeps what breaks a promise."""

    def __init__(self, model: Model, findings: Path) -> None:
        self.model = model
        self.findings = findings
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.base = self.most = _resident()
        """Bytes. The fuzzer itself grows with the number of its inputs; that is not counted."""
        self.begun = self.said = time.monotonic()

    def __call__(self, data: bytes) -> None:
        start, before = time.process_time(), _resident()
        _CLEAR.write_text("5")  # the peak begins anew
        try:
            self.outcomes[self.judge(data)] += 1
            seconds = time.process_time() - start
            self.slowest = max(self.slowest, seconds)
            if seconds > SECONDS:
                raise BrokenPromiseError(f"{seconds:.1f} s")
            memory = self.base + _resident("VmHWM") - before
            self.most = max(self.most, memory)
            if memory > MEMORY:
                raise BrokenPromiseError(f"{memory >> 20} MiB resident")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self._keep(data, error)
        if time.monotonic() - self.said > 60:
            self.said = time.monotonic()
            self.report()

    def judge(self, data: bytes) -> str:
        """Return what came of an input, raise whatever it should not raise."""
        try:
            picture = decode_picture(data, self.model, max_pixels=MAX_PIXELS)
        except RegcodecError as error:
            self._region(data)
            return type(error).__name__
        file = read_rgc(data)
        _check(picture, file.width, file.height)
        if file.width * file.height <= WRITTEN_PIXELS:
            self._plugin(data, picture)
            self._image_file(picture, list(FORMATS)[zlib.crc32(data) % len(FORMATS)])
        return "picture"

    def _region(self, data: bytes) -> None:
        try:
            _check(decode_picture(data, self.model, region=Box(0, 0, 1, 1), max_pixels=MAX_PIXELS), 1, 1)
        except RegcodecError:
            return

    def _plugin(self, data: bytes, picture: Picture) -> None:
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except RegcodecError as error:
            raise BrokenPromiseError("the plugin refuses what decodes") from error
        if image.size != (picture.width, picture.height):
            raise BrokenPromiseError(f"the plugin makes {image.size}")

    def _image_file(self, picture: Picture, name: str) -> None:
        try:
            written = write_picture(picture, FORMATS[name])
            strip(picture, STRIPPABLE)
        except RegcodecError:
            return
        with Image.open(io.BytesIO(written)) as image:
            if sorted(image.size) != sorted((picture.width, picture.height)):
                raise BrokenPromiseError(f"{name} has {image.size}")

    def _keep(self, data: bytes, error: BaseException) -> None:
        where = "".join(traceback.format_tb(error.__traceback__)[-1:]).split("\n")[0]
        kind = f"{type(error).__name__}-{zlib.crc32((where + type(error).__name__).encode()):08x}"
        self.outcomes[kind] += 1
        path = self.findings / f"{kind}.rgc"
        if not path.exists():
            self.findings.mkdir(exist_ok=True)
            path.write_bytes(data)
            path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))

    def report(self) -> None:
        """Say what was done so far, as one JSON line."""
        facts = {
            "seconds": round(time.monotonic() - self.begun),
            "executions": self.outcomes.total(),
            "outcomes": dict(self.outcomes.most_common()),
            "slowest_cpu_seconds": round(self.slowest, 3),
            "most_mib": self.most >> 20,
        }
        print(json.dumps(facts), file=sys.stderr, flush=True)


def fill(corpus: Path) -> None:
    """Put the golden files, good and bad, into a corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    for path in (*GOLDEN.glob("*.rgc"), *GOLDEN.glob("bad/*.rgc")):
        (corpus / path.name).write_bytes(path.read_bytes())


def _check(picture: Picture, width: int, height: int) -> None:
    planes = [picture.pixels.shape[:2], *([] if picture.alpha is None else [picture.alpha.shape])]
    if any(shape != (height, width) for shape in planes):
        raise BrokenPromiseError(f"planes of {planes} for a picture of {width}x{height}")


def _resident(which: str = "VmRSS") -> int:
    """Return the bytes resident now, or at most since the peak was cleared (VmHWM)."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) << 10


def main() -> None:
    """Fuzz until an option of libFuzzer says stop."""
    corpus = Path(sys.argv[1])
    fill(corpus)
    warnings.simplefilter("ignore")  # Pillow's, about odd metadata
    model = Model.open(GOLDEN / "tiny.rgm", threads=1)
    target, mutator = Target(model, corpus.with_name(f"{corpus.name}-findings")), Mutator(model)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        draw = Random(seed)

        def change(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part, len(part) + draw.randrange(1, 64)))

        changed = data if draw.random() < 0.1 else mutator(data, draw, change)
        return changed if changed != data and len(changed) <= max_size else bytes(atheris.Mutate(data, max_size))

    api.model_for_decoding = lambda *_: model  # the plugin finds the tiny pack
    atheris.Setup([sys.argv[0], "-timeout=600", "-max_len=65536", *sys.argv[1:]], target, custom_mutator=mutate)
    try:
        atheris.Fuzz()
    finally:
        target.report()


if __name__ == "__main__":
    main()
