"""Makes everything in this folder from nothing: `python -m tests.golden.make` (about a minute).

    tiny.rgm        a real pack of a tiny network, trained by the product on pictures drawn by code
    *.rgc           golden files; expected.npz has the pixels they decode to, and FILE:alpha, FILE:icc, ... as bytes
    masked/         a pack with a masked context, three files, their pixels
    bad/*.rgc       damaged files; bad.json has the exit code and the sentence that each must produce

The sentences are written here by hand, never taken from a run. Run it again only when the format changes: files made by
the old program are the point of golden files. `--keep-pack` leaves the packs as they are;
`--masked` makes the folder `masked` alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from regcodec.bitstream.container import CHUNK_CRC, HEADER_CRC, MAGIC, Chunk, Layout, RgcFile, read_rgc, write_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels, encode_symbols, file_bytes
from regcodec.codec.model import Model
from regcodec.codec.picture import Picture, decode_picture, encode_picture
from regcodec.codec.pixels import Pixels
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import symbols_crc
from regcodec.coding.range_coder import SymbolEncoder
from regcodec.config import STRIPPABLE
from tests.images import noise, render

HERE = Path(__file__).resolve().parent
PACK = HERE / "tiny.rgm"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
EXIF = bytes.fromhex("49492a0008000000010012010300010000000600000000000000")
"""One tag: orientation 6."""


def profile() -> bytes:
    """Return an sRGB profile without the date on which it was made."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[:24] + bytes(12) + made[36:]


def ramp(width: int, height: int) -> Pixels:
    """Return a plane that runs from 0 on the left to 255 on the right."""
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width)).copy()


def cross(width: int, height: int) -> Pixels:
    """Return an alpha plane of 0 and 255."""
    plane = np.zeros((height, width), np.uint8)
    plane[height // 2] = plane[:, width // 2] = 255
    return plane


GOLDEN = {
    "one-pixel.rgc": (Picture(pixels=render(3, 1, 1)), 4.0),
    "colour.rgc": (Picture(pixels=render(4, 70, 50)), 3.0),
    "grey.rgc": (Picture(pixels=render(5, 33, 129, grey=True)), 4.0),
    "grey-pixel.rgc": (Picture(pixels=render(6, 1, 1, grey=True)), 1.0),
    "dust.rgc": (Picture(pixels=noise(7, 64, 64)), 1.0),
    "all-chunks.rgc": (
        Picture(pixels=render(9, 20, 14), alpha=ramp(20, 14), icc=profile(), exif=EXIF, xmp=XMP),
        3.0,
    ),
    "grey-cut-out.rgc": (Picture(pixels=render(10, 19, 9, grey=True), alpha=cross(19, 9), xmp=XMP), 1.0),
    "tiles.rgc": (Picture(pixels=ramp(8, 1).repeat(4_104, axis=1)), 1.0),
}
"""name -> picture, quality; tiles.rgc, padded to 64 rows, is just too large to be one tile."""
MASKED = HERE / "masked"
MASKED_GOLDEN = {"colour.rgc": (render(4, 70, 100), 4.0), "one-pixel.rgc": (render(3, 1, 1), 1.0)}
"""Of the pack tiny-autoregressive.rgm."""


def train_pack(target: Path, *, steps: int, **network: Any) -> None:
    """Train and export a tiny pack with the product's own code."""
    import torch
    from rich.console import Console

    from regcodec.config import NetworkConfig, TrainConfig
    from regcodec.training.export import export_checkpoint
    from regcodec.training.loop import RunPaths, train

    torch.set_num_threads(1)
    config = TrainConfig(
        network=NetworkConfig(**network),
        lambdas=(0.0018, 0.0067, 0.013),
        steps=steps,
        crop=64,
        downscale=1.5,
        lr=4e-3,
        warmup=20,
        clip=20.0,
        ema=0.98,
        precision="fp32",
        start="random",
        validate_every=400,
    )
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images = work / "rendered"
        images.mkdir()
        for seed in range(40):
            Image.fromarray(render(1000 + seed, 160, 160)).save(images / f"{seed:02d}.png")
        paths = RunPaths(run=work / "run", data=images, val=None, cache=work / "cache")
        checkpoint = train(config, paths, device="cpu", console=console)
        export_checkpoint(checkpoint, target, force=True, console=console)


def with_escapes(model: Model) -> bytes:
    """Return a file whose z and y hold symbols outside every table, with escapes of up to 31 bits.

    The far ones are in z, whose network clamps; y stays where the synthesis is finite.
    """
    z, y, _ = encode_symbols(render(8, 128, 64), model, 0, Stopwatch())
    far = [sign * 2**bits + 1 for bits in (9, 13, 15, 16, 17, 20, 24) for sign in (1, -1)]
    z.ravel()[:] = [*far, 2**29, -(2**29)]
    y.ravel()[::16] = np.linspace(-800, 800, y.size // 16).astype(np.int32)
    _, tables = model.entropy.parameters(z, model.rates.rate(0))
    coder = SymbolEncoder()
    coder.encode(z.ravel(), model.z_table_indices(z.shape, 0), model.z_tables)
    coder.encode(y.ravel(), tables.ravel(), model.y_tables)
    payload = symbols_crc(z, y) + coder.finish()
    return write_rgc(RgcFile(bytes.fromhex(model.pack.id), 0, 128, 64, Layout.RGB, (Chunk(b"S", payload),)))


def header(model: Model, *, version: int = 1, flags: int = 0, pack_id: bytes | None = None, quality: bytes = b"\0",
           width: bytes = b"\1", height: bytes = b"\1", layout: int = 0, chunks: bytes = b"\1") -> bytes:  # fmt: skip
    """Return a header byte by byte, with a CRC that fits: what `write_rgc` would refuse to write."""
    ident = bytes.fromhex(model.pack.id) if pack_id is None else pack_id
    head = MAGIC + bytes([version, flags]) + ident + quality + width + height + bytes([layout]) + chunks
    return head + HEADER_CRC.write(zlib.crc32(head))


def chunk(kind: bytes, payload: bytes) -> bytes:
    """Return a chunk with a CRC that fits; payloads here are shorter than 128 bytes."""
    body = kind + bytes([len(payload)]) + payload
    return body + CHUNK_CRC.write(zlib.crc32(body))


def flipped(data: bytes, byte: int, bit: int = 0) -> bytes:
    """Return `data` with one bit changed."""
    return (
        data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1 :]
        if byte >= 0
        else flipped(data, len(data) + byte, bit)
    )


def damaged(model: Model, good: bytes) -> dict[str, tuple[bytes, int, str]]:
    """Return name -> (file, exit code, sentence), made from a good file of one pixel."""
    payload = read_rgc(good).chunk(b"S")
    head = len(good) - len(chunk(b"S", payload))
    body = good[head:]
    unknown = bytes.fromhex("0123456789abcdef")
    newer = "Update regcodec."
    no_newer = "Update regcodec; if that does not help, the file is damaged."
    mismatch = "the header is damaged (its CRC does not match)."
    broken_chunk = "a chunk is damaged (its CRC does not match)."
    feature = f"the file uses a feature this program does not know. {newer}"
    bad = {
        "empty": (b"", "the file is empty."),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an .rgc file."),
        "text": (b"width=1 height=1\n", "not an .rgc file."),
        "newline-conversion": (good.replace(b"\r\n", b"\n", 1), "not an .rgc file."),
        "cut-in-magic": (good[:5], "the file is truncated: it ends inside the magic."),
        "cut-before-version": (good[:8], "the file is truncated: it ends inside the version."),
        "cut-in-pack-id": (good[:15], "the file is truncated: it ends inside the pack_id."),
        "cut-in-header-crc": (good[: head - 1], "the file is truncated: it ends inside the header CRC."),
        "cut-before-chunk": (good[:head], "the file is truncated: it ends inside the chunk type."),
        "cut-in-chunk": (good[: head + 9], "the file is truncated: it ends inside the chunk of type S."),
        "cut-in-chunk-crc": (good[:-2], "the file is truncated: it ends inside the chunk CRC."),
        "flip-in-header": (flipped(good, 18), mismatch),
        "flip-in-header-crc": (flipped(good, head - 1), mismatch),
        "flip-in-chunk": (flipped(good, head + 7, 3), broken_chunk),
        "flip-in-chunk-crc": (flipped(good, -1, 7), broken_chunk),
        "newer-version": (
            header(model, version=2) + body,
            f"the file has format version 2, this program reads 1. {no_newer}",
        ),
        "garbage-version": (
            flipped(good, 8, 6),
            f"the file has format version 65, this program reads 1. {no_newer}",
        ),
        "flags": (header(model, flags=128) + body, feature),
        "layout": (header(model, layout=2) + body, feature),
        "zero-width": (header(model, width=b"\0") + body, "the width is 0, outside 1 to 65535."),
        "height-65536": (header(model, height=b"\x80\x80\x04") + body, "the height is 65536, outside 1 to 65535."),
        "no-chunks": (header(model, chunks=b"\0"), "the chunks is 0, outside 1 to 65535."),
        "overlong-width": (header(model, width=b"\x81\0") + body, "the width is not in its shortest form."),
        "endless-quality": (header(model, quality=b"\xff" * 9 + b"\1") + body, "the quality is out of range."),
        "unknown-critical-chunk": (
            header(model, chunks=b"\2") + chunk(b"Q", b"?") + body,
            f"the file needs chunk type Q, unknown to this program. {newer}",
        ),
        "chunk-type-digit": (header(model) + chunk(b"7", payload), "b'7' is not a chunk type."),
        "no-symbols": (header(model) + chunk(b"x", b"note"), "the file has 0 chunks of type S, not one."),
        "symbols-twice": (header(model, chunks=b"\2") + body + body, "the file has 2 chunks of type S, not one."),
        "trailing-bytes": (good + b"end", "3 bytes follow the last chunk."),
        "trailing-newline": (good + b"\n", "1 bytes follow the last chunk."),
        "quality-row": (
            header(model, quality=b"\3") + body,
            f"the file names quality row 3; pack {model.name} has 3.",
        ),
        "symbols-chunk-short": (header(model) + chunk(b"S", b"abc"), "the symbols chunk is too short."),
        "symbols-not-words": (
            header(model) + chunk(b"S", payload[:-1]),
            "the coded symbols are not whole 32-bit words.",
        ),
        "symbols-crc": (
            header(model, quality=bytes([read_rgc(good).quality])) + chunk(b"S", flipped(payload, 0)),
            "the decoded symbols do not have the file's checksum.",
        ),
        "symbols-left-over": (
            header(model, quality=bytes([read_rgc(good).quality])) + chunk(b"S", payload + bytes(8)),
            "the coded symbols do not end where they should.",
        ),
        "symbols-invalid": (header(model) + chunk(b"S", payload[:4] + b"\xff" * 8), "the coded symbols are damaged."),
    }
    listed: dict[str, tuple[bytes, int, str]] = {name: (data, 3, sentence) for name, (data, sentence) in bad.items()}
    listed["unknown-pack"] = (
        header(model, pack_id=unknown) + body,
        4,
        f"needs pack {unknown.hex()}, not found. Packs here: tiny ({model.pack.id}). "
        "Pass --model FILE or set REGCODEC_MODELS.",
    )
    listed["too-large"] = (
        header(model, width=b"\xff\xff\3", height=b"\xff\xff\3") + body,
        5,
        "the image has 65535x65535 pixels; the limit is 178,956,970. Raise it with --max-pixels.",
    )
    return listed


def loud(model: Model) -> bytes:
    """Return a file whose symbols are large, some outside their tables, so that the context has much to read."""
    pixels = render(9, 128, 64)
    draw = np.random.default_rng(9)
    z = draw.normal(0, 5, model.z_shape(128, 64)).astype(np.float32)
    y = draw.laplace(0, 6, model.y_shape(z.shape)).astype(np.float32)
    y[::5, ::3, ::3] *= 40
    return file_bytes(pixels, model, model.rates.row(4.0), iter([(z, y)]), Stopwatch())


def make_masked(*, keep: bool) -> None:
    """Write the folder `masked` anew."""
    MASKED.mkdir(exist_ok=True)
    pack = MASKED / "tiny-autoregressive.rgm"
    if not keep:
        train_pack(pack, steps=200, arch="autoregressive", N=8, M=12)
    model = Model.open(pack, threads=1)
    files = {name: encode_pixels(pixels, model, quality) for name, (pixels, quality) in MASKED_GOLDEN.items()}
    files["loud.rgc"] = loud(model)
    for name, data in files.items():
        (MASKED / name).write_bytes(data)
    np.savez_compressed(MASKED / "expected.npz", **{name: decode_pixels(data, model) for name, data in files.items()})


def expected(files: dict[str, bytes], model: Model) -> dict[str, Pixels]:
    """Return what the files decode to, under the names that expected.npz has."""
    arrays = {}
    for name, data in files.items():
        picture = decode_picture(data, model)
        arrays[name] = picture.pixels
        if picture.alpha is not None:
            arrays[f"{name}:alpha"] = picture.alpha
        for kind in STRIPPABLE:
            if (blob := getattr(picture, kind)) is not None:
                arrays[f"{name}:{kind}"] = np.frombuffer(blob, np.uint8)
    return arrays


def main() -> None:
    """Write everything anew."""
    keep = "--keep-pack" in sys.argv
    make_masked(keep=keep)
    if "--masked" in sys.argv:
        return
    if not keep:
        train_pack(PACK, steps=800, N=8, M=12)
    model = Model.open(PACK, threads=1)
    files = {name: encode_picture(picture, model, quality) for name, (picture, quality) in GOLDEN.items()}
    files["escapes.rgc"] = with_escapes(model)
    for stale in [*HERE.glob("*.rgc"), *HERE.glob("bad/*.rgc")]:
        stale.unlink()
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    np.savez_compressed(HERE / "expected.npz", **expected(files, model))
    table = {}
    (HERE / "bad").mkdir(exist_ok=True)
    for name, (data, code, sentence) in damaged(model, files["one-pixel.rgc"]).items():
        (HERE / "bad" / f"{name}.rgc").write_bytes(data)
        table[f"{name}.rgc"] = {"exit_code": code, "sentence": sentence}
    (HERE / "bad.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
