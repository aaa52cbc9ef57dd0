"""Seconds to encode and decode one image: whole processes, parts, and CompressAI on the same weights.

    python benchmarks/codec_speed.py kodim19.png [--model PACK] [-q 3] [--repeats 7]

Processes are started anew for every repeat, so interpreter, imports and reading the pack count; one before them is not
counted and leaves the bytecode that an installed package has. CompressAI's rows run the network read back from the same
pack through its own `compress` and `decompress`, where it has that network.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from regcodec.cli.threads import limit_threads

PEER = """
import sys, time
import numpy as np, torch
from PIL import Image
from regcodec.codec.pack import read_pack
from regcodec.training.restore import restore_network
pack, image, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
from pathlib import Path
network = restore_network(read_pack(Path(pack)))
network.update(force=True)
pixels = np.asarray(Image.open(image).convert("RGB"))
x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
x = torch.nn.functional.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64), mode="replicate")
with torch.no_grad():
    for _ in range(repeats):
        start = time.perf_counter()
        coded = network.compress(x)
        middle = time.perf_counter()
        network.decompress(**coded)
        print(middle - start, time.perf_counter() - middle)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--model")
    parser.add_argument("-q", "--quality", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    inherited = dict(os.environ)
    limit_threads(None)  # as the commands do, before numpy is loaded
    from regcodec.codec.library import find_pack
    from regcodec.codec.pack import read_pack

    pack = find_pack(options.model)
    console = Console(highlight=False, width=100)
    table = Table(title=f"{options.image.name}, q {options.quality:g}, {pack.name}, median of {options.repeats}, ms")
    for heading in ("what", "encode", "decode"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    with tempfile.TemporaryDirectory() as folder:
        environment = _as_installed(inherited, Path(folder))
        whole = _whole(pack, options, Path(folder), environment)
        table.add_row("regcodec, whole process", *(f"{1000 * s:.0f}" for s in whole))
        for name, values in _parts(pack, options).items():
            table.add_row(f"  of it {name}", *(f"{1000 * s:.1f}" for s in values))
        if read_pack(pack).codec["architecture"] in ("hyperprior", "autoregressive", "attention"):
            peer_whole, peer = _peer(pack, options, environment)
            table.add_row("CompressAI compress, decompress", *(f"{1000 * s:.0f}" for s in peer))
            table.add_row("CompressAI process for one of each, with imports", f"{1000 * peer_whole:.0f}", "")
    console.print(table)
    console.print(f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}")


def _as_installed(inherited: dict[str, str], folder: Path) -> dict[str, str]:
    """Return an environment in which modules have their bytecode in `folder` from their first import on."""
    kept = {name: value for name, value in inherited.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def _whole(pack: Path, options: argparse.Namespace, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return median seconds of a process that encodes and of one that decodes."""
    coded, decoded = folder / "a.rgc", folder / "a.png"
    base, model = [sys.executable, "-m", "regcodec"], ["--model", str(pack), "-f", "--quiet"]
    encode = [*base, "encode", str(options.image), "-q", str(options.quality), "-o", str(coded), *model]
    decode = [*base, "decode", str(coded), "-o", str(decoded), *model]
    seconds = [_seconds(command, options.repeats, environment) for command in (encode, decode)]
    return seconds[0], seconds[1]


def _seconds(command: list[str], repeats: int, environment: dict[str, str]) -> float:
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment)
        times.append(time.perf_counter() - start)
    return median(times[1:])


def _parts(pack: Path, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Return medians of the parts, each repeat with a fresh model as in a fresh process."""
    from regcodec.codec.decoder import decode_pixels
    from regcodec.codec.encoder import encode_pixels
    from regcodec.codec.model import Model
    from regcodec.codec.reading import read_picture
    from regcodec.codec.stopwatch import Stopwatch

    pixels = read_picture(options.image.read_bytes()).pixels
    walks: list[list[dict[str, float]]] = [[], []]
    for _ in range(options.repeats):
        model, clock = Model.open(pack), Stopwatch()
        data = encode_pixels(pixels, model, options.quality, clock=clock)
        walks[0].append(dict(clock.seconds))
        model, clock = Model.open(pack), Stopwatch()
        decode_pixels(data, model, clock=clock)
        walks[1].append(dict(clock.seconds))
    names = {"transform": "transform, session and run", "entropy": "exact entropy network", "coder": "range coder"}
    encode, decode = ({name: median(run[name] for run in walk) for name in names} for walk in walks)
    return {title: (encode[name], decode[name]) for name, title in names.items()}


def _peer(pack: Path, options: argparse.Namespace, environment: dict[str, str]) -> tuple[float, tuple[float, float]]:
    def run(repeats: int) -> list[tuple[float, ...]]:
        command = [sys.executable, "-W", "ignore", "-c", PEER, str(pack), str(options.image), str(repeats)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        return [tuple(map(float, line.split())) for line in printed.splitlines()]

    run(1)  # leaves the bytecode
    start = time.perf_counter()
    run(1)
    whole = time.perf_counter() - start
    encode, decode = zip(*run(options.repeats), strict=True)
    return whole, (median(encode), median(decode))


if __name__ == "__main__":
    main()
