"""Files made once and kept: what they decode to, and what the damaged ones say. tests/golden/make.py made them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from regcodec.bitstream.container import Chunk, RgcFile, read_rgc, write_rgc
from regcodec.codec.decoder import decode_pixels, decode_symbols
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.coding.escape import LARGEST_SYMBOL
from regcodec.errors import RegcodecError
from tests import reference_decoder
from tests.conftest import GOLDEN, PACK

FILES = sorted(path.name for path in GOLDEN.glob("*.rgc"))
BAD = json.loads((GOLDEN / "bad.json").read_text())
SMALLEST = "one-pixel.rgc"
ONE_LEVEL = 1
"""What two machines' float transforms may differ by (docs/format.md, section 2)."""


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "expected.npz") as stored:
        return dict(stored)


def symbols(data: bytes, model: Model) -> tuple[np.ndarray, np.ndarray]:
    z, y, _ = decode_symbols(read_rgc(data), model, Stopwatch())
    return z, y


def test_no_golden_file_is_missing(expected: dict[str, np.ndarray]) -> None:
    assert sorted(expected) == FILES
    assert sorted(BAD) == sorted(path.name for path in (GOLDEN / "bad").iterdir())
    assert len(FILES) >= 6
    assert len(BAD) >= 30


@pytest.mark.parametrize("name", FILES)
def test_golden_symbols_are_those_of_the_reference_decoder(name: str, model: Model) -> None:
    data = (GOLDEN / name).read_bytes()
    z, y = symbols(data, model)
    reference_z, reference_y = reference_decoder.decode_symbols(data, PACK.read_bytes())
    np.testing.assert_array_equal(z, reference_z)
    np.testing.assert_array_equal(y, reference_y)


@pytest.mark.parametrize("name", FILES)
def test_golden_pixels_are_within_one_level_of_those_stored(
    name: str, model: Model, expected: dict[str, np.ndarray]
) -> None:
    pixels = decode_pixels((GOLDEN / name).read_bytes(), model)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected[name].shape
    assert np.abs(pixels.astype(int) - expected[name].astype(int)).max() <= ONE_LEVEL


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "masked").glob("*.rgc")))
def test_golden_files_of_a_masked_context_decode_as_they_did(name: str) -> None:
    pack, data = GOLDEN / "masked" / "tiny-autoregressive.rgm", (GOLDEN / "masked" / name).read_bytes()
    model = Model.open(pack, threads=1)
    for coded, reference in zip(
        symbols(data, model), reference_decoder.decode_symbols(data, pack.read_bytes()), strict=True
    ):
        np.testing.assert_array_equal(coded, reference)
    with np.load(GOLDEN / "masked" / "expected.npz") as stored:
        assert sorted(stored.files) == ["colour.rgc", "loud.rgc", "one-pixel.rgc"]
        assert np.abs(decode_pixels(data, model).astype(int) - stored[name].astype(int)).max() <= ONE_LEVEL


def test_the_golden_escapes_reach_the_largest_symbol(model: Model) -> None:
    z, y = symbols((GOLDEN / "escapes.rgc").read_bytes(), model)
    assert z.max() == LARGEST_SYMBOL
    assert z.min() == -LARGEST_SYMBOL
    longest = model.y_tables.lengths.max()
    assert np.abs(y).max() > longest // 2


@pytest.mark.parametrize("name", sorted(BAD))
@pytest.mark.usefixtures("only_tiny")
def test_a_bad_file_gives_its_sentence_and_no_picture(name: str, run: Callable[..., Result], tmp_path: Path) -> None:
    bad = GOLDEN / "bad" / name
    result = run("decode", bad, "-o", tmp_path / "out.png")
    assert result.stderr == f"Error: {bad}: {BAD[name]['sentence']}\n"
    assert result.stdout == ""
    assert result.exit_code == BAD[name]["exit_code"]
    assert list(tmp_path.iterdir()) == []


# the size of too-large.rgc is over a limit of this program, not of the format
@pytest.mark.parametrize("name", sorted(set(BAD) - {"too-large.rgc"}))
def test_the_reference_decoder_refuses_the_bad_files_too(name: str) -> None:
    with pytest.raises(reference_decoder.RefusedError):
        reference_decoder.decode_symbols((GOLDEN / "bad" / name).read_bytes(), PACK.read_bytes())


def test_every_truncation_is_refused(model: Model) -> None:
    data = (GOLDEN / SMALLEST).read_bytes()
    for length in range(len(data)):
        with pytest.raises(RegcodecError):
            decode_pixels(data[:length], model)


def test_every_flipped_bit_is_refused(model: Model) -> None:
    data = (GOLDEN / SMALLEST).read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RegcodecError):
            decode_pixels(bytes(flipped), model)


def test_every_changed_byte_is_refused(model: Model) -> None:
    data = (GOLDEN / SMALLEST).read_bytes()
    for place in range(len(data)):
        for change in (0x55, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= change
            with pytest.raises(RegcodecError):
                decode_pixels(bytes(changed), model)


def test_every_changed_word_of_the_stream_is_refused_even_where_the_chunk_crc_fits(model: Model) -> None:
    """What the CRC of the symbols is for: damage that an attacker, or a bug, put under a fitting chunk CRC."""
    good = read_rgc((GOLDEN / "colour.rgc").read_bytes())
    payload = good.chunk(b"S")
    draw = np.random.default_rng(1)
    for place in range(0, len(payload) - 4, 3):
        changed = bytearray(payload)
        changed[place] ^= int(draw.integers(1, 256))
        file = RgcFile(**{**good.__dict__, "chunks": (Chunk(b"S", bytes(changed)),)})
        with pytest.raises(RegcodecError):
            decode_pixels(write_rgc(file), model)
