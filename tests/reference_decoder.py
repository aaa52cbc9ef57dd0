"""An independent reader of `.rgc` symbols, and a range encoder, in plain Python integers.

Source: docs/format.md, and nothing else: no line of `regcodec` is imported or was read to write this one.
(The steps of res-context were written from the page by someone who knew the code.) It is slow and obvious on purpose.
NumPy opens the pack's npz and holds the results; it computes nothing.

    z [N, ceil(H/s), ceil(W/s)]   y [M, 4 ceil(H/s), 4 ceil(W/s)]   symbols, int64

Only tests import this file. Section numbers are those of docs/format.md.
"""

import hashlib
import io
import json
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import numpy as np

PRECISION = 24
MAGIC = bytes.fromhex("89 52 47 43 0D 0A 1A 0A")
LARGEST_SYMBOL = 2**29
ID_FILES = ("codec.json", "analysis.onnx", "hyper_analysis.onnx", "synthesis.onnx", "entropy.npz")


class RefusedError(ValueError):
    """The bytes break a rule that the format page marks *refuse*."""


def refuse_unless(condition: bool, rule: str) -> None:
    if not condition:
        raise RefusedError(rule)


# Section 1: the container


class Bytes:
    """A file read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        refuse_unless(self.at + count <= len(self.data), "the file ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, low: int, high: int) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            refuse_unless(value <= high, "varint out of range")
            if byte < 128:
                refuse_unless(shift == 0 or byte != 0, "varint not in its shortest form")
                refuse_unless(low <= value, "varint out of range")
                return value
            shift += 7
            refuse_unless(shift < 64, "varint too long")

    def check_crc(self, start: int) -> None:
        computed = zlib.crc32(self.data[start : self.at])
        refuse_unless(int.from_bytes(self.take(4), "little") == computed, "CRC")


def read_container(rgc: bytes) -> tuple[dict, list[bytes]]:
    """The header's fields and the payloads of the `S` chunks."""
    f = Bytes(rgc)
    refuse_unless(f.take(8) == MAGIC, "magic")
    refuse_unless(f.byte() == 1, "version")
    refuse_unless(f.byte() == 0, "flags")
    header = {"pack_id": f.take(8)}
    header["quality"] = f.varint(0, 65535)
    header["width"] = f.varint(1, 65535)
    header["height"] = f.varint(1, 65535)
    header["layout"] = f.byte()
    refuse_unless(header["layout"] in (0, 1), "layout")
    chunks = f.varint(1, 65535)
    f.check_crc(0)

    found: dict[str, bytes] = {}
    streams: list[bytes] = []
    for _ in range(chunks):
        start = f.at
        kind = chr(f.byte())
        refuse_unless(kind.isascii() and kind.isalpha(), "chunk type is not a letter")
        content = f.take(f.varint(0, 2**40))
        f.check_crc(start)
        if kind == "S":
            streams.append(content)
        elif kind in "Aiex":
            refuse_unless(kind not in found, f"two {kind} chunks")
            found[kind] = content
        else:
            refuse_unless(kind.islower(), "unknown critical chunk")
    refuse_unless(f.at == len(rgc), "bytes after the last chunk")
    return {**header, "found": found}, streams


# Section 2: the range coder, the tables, the escapes


class RangeDecoder:
    def __init__(self, words: list[int]) -> None:
        self.words, self.next = words, 2
        self.lower, self.range = 0, 2**64 - 1
        self.point = self.word(0) << 32 | self.word(1)

    def word(self, i: int) -> int:
        return self.words[i] if i < len(self.words) else 0

    def quantile(self) -> int:
        scale = self.range >> PRECISION
        quantile = ((self.point - self.lower) % 2**64) // scale
        refuse_unless(quantile < 2**PRECISION, "point outside the interval")
        return quantile

    def consume(self, left: int, frequency: int) -> None:
        scale = self.range >> PRECISION
        self.lower = (self.lower + scale * left) % 2**64
        self.range = scale * frequency
        if self.range < 2**32:
            self.lower = (self.lower << 32) % 2**64
            self.range <<= 32
            self.point = (self.point << 32 | self.word(self.next)) % 2**64
            self.next += 1

    def digit(self, bits: int) -> int:
        unit = 2 ** (PRECISION - bits)
        digit = self.quantile() // unit
        self.consume(digit * unit, unit)
        return digit


class Table:
    def __init__(self, frequencies: list[int], low: int) -> None:
        self.low, self.n = low, len(frequencies)
        self.frequencies = frequencies
        self.left = [0, *accumulate(frequencies)]
        refuse_unless(self.left[-1] == 2**PRECISION and min(frequencies) >= 1, "not a table")

    def decode(self, coder: RangeDecoder) -> int | None:
        """A symbol, or None for the escape."""
        entry = bisect_right(self.left, coder.quantile()) - 1
        coder.consume(self.left[entry], self.frequencies[entry])
        return None if entry == self.n - 1 else self.low + entry

    def decode_escape(self, coder: RangeDecoder) -> int:
        k = coder.digit(5) + 1
        n = 1
        if k - 1 > 16:
            n = n << (k - 17) | coder.digit(k - 17)
        if k > 1:
            rest = min(k - 1, 16)
            n = n << rest | coder.digit(rest)
        highest = self.low + self.n - 2
        symbol = highest + 1 + (n - 1) // 2 if n % 2 else self.low - 1 - (n - 2) // 2
        refuse_unless(abs(symbol) <= LARGEST_SYMBOL, "symbol out of range")
        return symbol


def decode_grouped(coder: RangeDecoder, tables: list[Table], indexes: list[int]) -> list[int]:
    """Symbols in the order channel, row, column, from a stream in the order of tables."""
    symbols: list[int | None] = [None] * len(indexes)
    for t in sorted(set(indexes)):
        places = [i for i, index in enumerate(indexes) if index == t]
        for i in places:
            symbols[i] = tables[t].decode(coder)
        for i in places:
            if symbols[i] is None:
                symbols[i] = tables[t].decode_escape(coder)
    return symbols


def encode_words(intervals: list[tuple[int, int]]) -> list[int]:
    """Words of a stream of intervals (left, frequency) out of 2^24, with `lower` as one unbounded integer."""
    lower, width, shifts = 0, 2**64 - 1, 0
    for left, frequency in intervals:
        scale = width >> PRECISION
        lower += scale * left
        width = scale * frequency
        if width < 2**32:
            lower, width, shifts = lower << 32, width << 32, shifts + 1
    if not intervals:
        return []
    last = (lower + 2**32 - 1) >> 32
    words = [last >> 32 * i & 0xFFFFFFFF for i in range(shifts, -1, -1)]
    # A zero word where words that might follow could otherwise leave the interval.
    return [*words, 0] if (lower + width) >> 32 == last else words


# Section 3: the integer network


def clamp(a: int, limit: int) -> int:
    return max(-limit, min(limit, a))


def layer(kind: str, a: list, weight: list, bias: list, shift: list, limit: int, slope: list | None) -> list:
    """One layer on nested lists [channel][row][column]; weight [out][in][k][k]."""
    a = [[[clamp(v, limit) for v in row] for row in plane] for plane in a]
    rows, columns, k = len(a[0]), len(a[0][0]), len(weight[0][0])
    grow = 2 if kind == "deconv" else 1
    out = []
    for o, filters in enumerate(weight):
        s = [[bias[o]] * (columns * grow) for _ in range(rows * grow)]
        for plane, kernel in zip([a[o]] if kind == "depthwise" else a, filters, strict=True):
            for i in range(k):
                for j in range(k):
                    w = kernel[i][j]
                    for r in range(rows):
                        for c in range(columns):
                            # conv is written from the input's side: a(r, c) meets tap (i, j) of out(r - i + k//2, ...)
                            to_r = 2 * r + i - k // 2 if kind == "deconv" else r - i + k // 2
                            to_c = 2 * c + j - k // 2 if kind == "deconv" else c - j + k // 2
                            if 0 <= to_r < rows * grow and 0 <= to_c < columns * grow:
                                s[to_r][to_c] += w * plane[r][c]
        half = 2 ** (shift[o] - 1) if shift[o] else 0
        values = [[(v + half) >> shift[o] for v in row] for row in s]
        if slope is not None:
            numerator, bits = slope
            values = [[v if v >= 0 else (2 * v * numerator + 2**bits) >> (bits + 1) for v in row] for row in values]
        out.append(values)
    return out


class Quality:
    """Gain, step of z, first table of z, offsets and the context's bias of a row of the quality table."""

    def __init__(self, row: int, codec: dict, arrays: dict) -> None:
        entropy = codec["entropy"]
        grid = "rates" in codec
        gains = arrays["gains"] if grid else [known["gain"] for known in codec["qualities"]]
        refuse_unless(row < len(gains), "quality")
        entry = arrays["entries"][row] if grid else 0
        self.gain = gains[row]
        self.z_step = arrays["z_steps"][entry] if grid else 2 ** entropy["z_bits"]
        self.z_tables = entry * len(arrays["medians"])
        self.offsets = arrays["offsets"][entry] if grid else [0] * len(arrays["y_lengths"])
        self.context_bias = arrays["context_bias"][entry] if grid and "context_bias" in arrays else None


def entropy_parameters(z: list, entropy: dict, arrays: dict, quality: Quality) -> list:
    """Nested lists [2M][rows][columns]: scales, then means, after the gain."""
    return gained(hyper_synthesis(z, entropy, arrays, quality), entropy, quality.gain)


def hyper_synthesis(z: list, entropy: dict, arrays: dict, quality: Quality) -> list:
    medians = arrays["medians"]
    a = [[[v * quality.z_step + medians[c] for v in row] for row in plane] for c, plane in enumerate(z)]
    for i, declared in enumerate(entropy["layers"]):
        a = declared_layer(a, declared, arrays, f"layer{i}")
    return [[[clamp(v, 2**30) for v in row] for row in plane] for plane in a]


def declared_layer(a: list, declared: dict, arrays: dict, name: str) -> list:
    weight, bias, shift = (arrays[f"{name}_{part}"] for part in ("weight", "bias", "shift"))
    subpel = declared["kind"] == "subpel"
    a = layer("conv" if subpel else declared["kind"], a, weight, bias, shift, declared["limit"], declared["slope"])
    if not subpel:
        return a
    rows, columns = range(2 * len(a[0])), range(2 * len(a[0][0]))
    return [
        [[a[4 * o + 2 * (r % 2) + c % 2][r // 2][c // 2] for c in columns] for r in rows] for o in range(len(a) // 4)
    ]


def gained(a: list, entropy: dict, gain: int) -> list:
    bits = entropy["gain_bits"]
    return [[[(2 * clamp(v, 2**30) * gain + 2**bits) >> (bits + 1) for v in row] for row in plane] for plane in a]


# Section 6: tiles


def core_edges(width: int, height: int, stride: int, constants: dict) -> tuple[list[int], list[int]]:
    """Edges of the cores down and across the picture, in pixels."""
    h, w = -(-height // stride), -(-width // stride)
    whole = h * w * stride**2 <= constants["whole"]
    down, across = (1 if whole else -(-side * stride // constants["core"]) for side in (h, w))
    return [stride * (i * h // down) for i in range(down + 1)], [stride * (i * w // across) for i in range(across + 1)]


# Sections 7 and 8: alpha and metadata


def inflate(stream: bytes) -> bytes:
    expander = zlib.decompressobj()
    try:
        expanded = expander.decompress(stream)
    except zlib.error:
        expanded = b""
    refuse_unless(expander.eof and not expander.unused_data, "a damaged zlib stream")
    return expanded


def decode_alpha(rgc: bytes) -> list[list[int]] | None:
    """Rows of the alpha plane, sample by sample."""
    header, _ = read_container(rgc)
    payload, w, h = header["found"].get("A"), header["width"], header["height"]
    if payload is None:
        return None
    refuse_unless(len(payload) > 0 and payload[0] <= 4, "method")
    method, data = payload[0], inflate(payload[1:])
    length = -(-w // 8) if method == 4 else w
    refuse_unless(len(data) == length * h, "not the rows of the picture")
    rows: list[list[int]] = []
    for r in range(h):
        above = rows[r - 1] if r else [0] * length
        row: list[int] = []
        for c in range(length):
            byte, left, up, corner = data[r * length + c], row[c - 1] if c else 0, above[c], above[c - 1] if c else 0
            predictions = {0: 0, 1: left, 2: up, 3: left + up - corner}
            row.append(byte ^ up if method == 4 else (byte + predictions[method]) % 256)
        rows.append(row)
    if method == 4:
        return [[255 * (row[c // 8] >> (7 - c % 8) & 1) for c in range(w)] for row in rows]
    return rows


def decode_metadata(rgc: bytes) -> dict[str, bytes]:
    """Chunk type to contents, of i, e and x."""
    contents = {}
    for kind, payload in read_container(rgc)[0]["found"].items():
        if kind in "iex":
            refuse_unless(payload[:1] in (b"\0", b"\1"), "method")
            contents[kind] = inflate(payload[1:]) if payload[0] else payload[1:]
            refuse_unless(len(contents[kind]) <= 2**24, "too long")
    return contents


def decode_in_steps(p: list, entropy: dict, arrays: dict, quality: Quality, decode: Callable) -> list:
    """y of res-context; `decode(scales)` returns the next symbols and their tables. Nested lists [M][rows][columns]."""
    declared = entropy["context"]["layers"]
    m, rows, columns = len(p) // 2, len(p[0]), len(p[0][0])
    drop, limit = entropy["parameter_bits"] - entropy["context"]["input_bits"], declared[4]["limit"]

    def run(i: int, a: list) -> list:
        return declared_layer(a, declared[i], arrays, f"context{i}")

    def added(a: list, b: list, most: int) -> list:
        return [
            [[clamp(v + w, most) for v, w in zip(*two, strict=True)] for two in zip(*planes, strict=True)]
            for planes in zip(a, b, strict=True)
        ]

    e = run(0, [[[(2 * v + 2**drop) >> (drop + 1) for v in row] for row in plane] for plane in p])
    if quality.context_bias is not None:
        e = [[[v + bias for v in row] for row in plane] for plane, bias in zip(e, quality.context_bias, strict=True)]
    y, y_hat = ([[[0] * columns for _ in range(rows)] for _ in range(m)] for _ in range(2))
    for s in range(4):
        p_s = p
        if s:
            a = added(e, run(s, y_hat), limit)
            for first in range(4, len(declared) - 3, 3):
                a = added(a, run(first + 2, run(first + 1, run(first, a))), limit)
            p_s = added(p, run(len(declared) - 4 + s, a), 2**30)
        parameters = gained(p_s, entropy, quality.gain)
        places = [
            (c, r, k)
            for c in range(m) for r in range(rows) for k in range(columns)
            if 2 * (r % 2) + k % 2 == (4 * c // m) ^ (0, 3, 1, 2)[s]
        ]  # fmt: skip
        symbols, tables = decode([parameters[c][r][k] for c, r, k in places])
        d = quality.gain * 2**drop
        for (c, r, k), q, t in zip(places, symbols, tables, strict=True):
            y[c][r][k] = q
            value = clamp(q, 2**20) * 2 ** entropy["parameter_bits"] + parameters[m + c][r][k]
            value -= quality.offsets[t] * ((q > 0) - (q < 0))
            y_hat[c][r][k] = (2 * value * 2 ** entropy["gain_bits"] + d) // (2 * d)
    return y


def decode_in_waves(p: list, entropy: dict, arrays: dict, quality: Quality, decode: Callable) -> list:
    """y of autoregressive and attention, likewise."""
    declared, bits = entropy["context"]["layers"], entropy["parameter_bits"]
    m, rows, columns = len(p) // 2, len(p[0]), len(p[0][0])
    drop_p, drop_y = bits - entropy["context"]["feature_bits"], bits - entropy["context"]["input_bits"]
    before = [(i, j) for i in (-2, -1, 0) for j in (-2, -1, 0, 1, 2) if i < 0 or j < 0]
    y, y_hat = ([[[0] * columns for _ in range(rows)] for _ in range(m)] for _ in range(2))

    def at(c: int, r: int, k: int) -> int:
        return y_hat[c][r][k] if 0 <= r < rows and 0 <= k < columns else 0

    def run(i: int, a: list) -> list:
        return declared_layer(a, declared[i], arrays, f"context{i}")

    for t in range(columns + 3 * (rows - 1)):
        wave = [(r, t - 3 * r) for r in range(rows) if 0 <= t - 3 * r < columns]
        near = [[[at(c, r + i, k + j) for r, k in wave]] for c in range(m) for i, j in before]
        entering = [[[(2 * plane[r][k] + 2**drop_p) >> (drop_p + 1) for r, k in wave]] for plane in p]
        parameters = gained(run(3, run(2, run(1, entering + run(0, near)))), entropy, quality.gain)
        symbols, tables = decode([scale for plane in parameters[:m] for scale in plane[0]])
        d = quality.gain * 2**drop_y
        at_once = iter(zip(symbols, tables, strict=True))
        for c in range(m):
            for place, (r, k) in enumerate(wave):
                q, table = next(at_once)
                y[c][r][k] = q
                value = clamp(q, 2**20) * 2**bits + parameters[m + c][0][place]
                value -= quality.offsets[table] * ((q > 0) - (q < 0))
                y_hat[c][r][k] = (2 * value * 2 ** entropy["gain_bits"] + d) // (2 * d)
    return y


# Sections 4 and 5: the pack


def read_pack(pack: bytes) -> tuple[bytes, dict, dict]:
    """Pack id, `codec.json` and the arrays of `entropy.npz` as nested lists of Python integers."""
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        digest = hashlib.sha256()
        for name in ID_FILES:
            contents = archive.read(name)
            digest.update(name.encode() + b"\0" + str(len(contents)).encode() + b"\0" + contents)
        pack_id = digest.digest()[:8]
        refuse_unless(archive.comment == b"regcodec pack " + pack_id.hex().encode(), "the pack does not state its id")
        with np.load(io.BytesIO(archive.read("entropy.npz"))) as npz:
            arrays = {name: exact_integers(npz[name]) for name in npz.files}
        return pack_id, json.loads(archive.read("codec.json")), arrays


def exact_integers(array: np.ndarray) -> list:
    """Nested lists of Python integers, also of integers that were stored as floats."""
    integers = array.astype(object)
    flat = [int(v) for v in integers.ravel()]
    refuse_unless(all(a == b for a, b in zip(flat, integers.ravel(), strict=True)), "not an integer")
    integers.ravel()[:] = flat
    boxed = np.empty(len(flat), dtype=object)
    boxed[:] = flat
    return boxed.reshape(array.shape).tolist()


def read_tables(arrays: dict, letter: str) -> list[Table]:
    frequencies, start, tables = arrays[f"{letter}_frequencies"], 0, []
    for length, low in zip(arrays[f"{letter}_lengths"], arrays[f"{letter}_lows"], strict=True):
        tables.append(Table(frequencies[start : start + length], low))
        start += length
    refuse_unless(start == len(frequencies), "frequencies without a table")
    return tables


def flat(a: list) -> list[int]:
    return [v for plane in a for row in plane for v in row]


def planes(values: list[int], channels: int, rows: int, columns: int) -> list:
    at = iter(values)
    return [[[next(at) for _ in range(columns)] for _ in range(rows)] for _ in range(channels)]


def decode_symbols(rgc: bytes, pack: bytes, tile: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """z and y of a tile; `RefusedError` where the format page says *refuse*."""
    header, streams = read_container(rgc)
    pack_id, codec, arrays = read_pack(pack)
    refuse_unless(header["pack_id"] == pack_id, "another pack")
    quality = Quality(header["quality"], codec, arrays)

    stride, channels = codec["stride"], len(arrays["medians"])
    down, across = core_edges(header["width"], header["height"], stride, codec["tile"])
    refuse_unless(len(streams) == (len(down) - 1) * (len(across) - 1), "another number of S chunks")
    payload, (r, c) = streams[tile], divmod(tile, len(across) - 1)
    rows, columns = (down[r + 1] - down[r]) // stride, (across[c + 1] - across[c]) // stride

    refuse_unless(len(payload) >= 4 and len(payload) % 4 == 0, "not whole words")
    words = [int.from_bytes(payload[i : i + 4], "little") for i in range(4, len(payload), 4)]
    coder = RangeDecoder(words)

    z_indexes = [quality.z_tables + c for c in range(channels) for _ in range(rows * columns)]
    z = decode_grouped(coder, read_tables(arrays, "z"), z_indexes)

    entropy, thresholds, y_tables = codec["entropy"], arrays["thresholds"], read_tables(arrays, "y")

    def decode(scales: list[int]) -> tuple[list[int], list[int]]:
        indexes = [sum(t <= scale for t in thresholds) for scale in scales]
        return decode_grouped(coder, y_tables, indexes), indexes

    p = hyper_synthesis(planes(z, channels, rows, columns), entropy, arrays, quality)
    m = len(p) // 2
    if codec["architecture"] == "res-context":
        y = flat(decode_in_steps(p, entropy, arrays, quality, decode))
    elif codec["architecture"] in ("autoregressive", "attention"):
        y = flat(decode_in_waves(p, entropy, arrays, quality, decode))
    else:
        y, _ = decode(flat(gained(p, entropy, quality.gain)[:m]))

    packed = b"".join(v.to_bytes(4, "little", signed=True) for v in z + y)
    refuse_unless(int.from_bytes(payload[:4], "little") == zlib.crc32(packed), "symbols' CRC")
    refuse_unless(exhausted(coder), "words left over")
    z_shape, y_shape = (channels, rows, columns), (m, 4 * rows, 4 * columns)
    return np.array(z, dtype=np.int64).reshape(z_shape), np.array(y, dtype=np.int64).reshape(y_shape)


def exhausted(coder: RangeDecoder) -> bool:
    """Every word has been in `point`, and what `point` is above `lower` can be the end of a stream."""
    return coder.next >= len(coder.words) and (coder.point - coder.lower) % 2**64 < 2**33 - 1
