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
from regcodec.codec.picture import decode_picture
from regcodec.codec.stopwatch import Stopwatch
from regcodec.coding.escape import LARGEST_SYMBOL
from regcodec.config import STRIPPABLE
from regcodec.errors import RegcodecError
from tests import reference_decoder
from tests.agreement import assert_the_reference_decoder_agrees
from tests.conftest import GOLDEN, PACK

FILES = sorted(path.name for path in GOLDEN.glob("*.rgc"))
BAD = json.loads((GOLDEN / "bad.json").read_text())
CHUNKS = ("one-pixel.rgc", "all-chunks.rgc", "grey-cut-out.rgc", "tiles.rgc")
"""Every kind of chunk."""
CHANGES = {False: (*(1 << bit for bit in range(8)), 0x55, 0xFF), True: (0x01, 0xFF)}
"""What is done to each byte of a short file, and of a long one."""
TILES = 33
"""Of tiles.rgc: 513 blocks of 64 pixels, and a core has 16 at most."""
ONE_LEVEL = 1
"""What two machines' float transforms may differ by (docs/format.md, section 2)."""


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "expected.npz") as stored:
        return dict(stored)


def test_no_golden_file_is_missing(expected: dict[str, np.ndarray]) -> None:
    assert sorted(name for name in expected if ":" not in name) == FILES
    assert sorted(BAD) == sorted(path.name for path in (GOLDEN / "bad").iterdir())
    assert len(FILES) >= 6
    assert len(BAD) >= 30


@pytest.mark.parametrize(
    ("name", "tile"), [*((name, 0) for name in FILES), ("tiles.rgc", 17), ("tiles.rgc", TILES - 1)]
)
def test_golden_symbols_are_those_of_the_reference_decoder(name: str, tile: int, model: Model) -> None:
    data = (GOLDEN / name).read_bytes()
    assert_the_reference_decoder_agrees(model, PACK, data, tile)


def test_the_tiles_of_the_golden_file_are_those_of_the_format_page(model: Model) -> None:
    file = read_rgc((GOLDEN / "tiles.rgc").read_bytes())
    grid = model.grid(file.width, file.height)
    edges = reference_decoder.core_edges(file.width, file.height, model.stride, model.pack.codec["tile"])
    assert (list(grid.rows), list(grid.columns)) == edges
    assert len(grid) == sum(chunk.type == b"S" for chunk in file.chunks) == TILES


@pytest.mark.parametrize("name", FILES)
def test_golden_pictures_are_within_one_level_of_those_stored(
    name: str, model: Model, expected: dict[str, np.ndarray]
) -> None:
    picture = decode_picture((GOLDEN / name).read_bytes(), model)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == expected[name].shape
    assert np.abs(picture.pixels.astype(int) - expected[name].astype(int)).max() <= ONE_LEVEL
    for part in ("alpha", *STRIPPABLE):
        found, stored = getattr(picture, part), expected.get(f"{name}:{part}")
        assert (found is None) == (stored is None), part
        if stored is not None:
            np.testing.assert_array_equal(np.frombuffer(found, np.uint8), stored.ravel())


@pytest.mark.parametrize("name", ["all-chunks.rgc", "grey-cut-out.rgc"])
def test_the_reference_decoder_reads_alpha_and_metadata_too(name: str, expected: dict[str, np.ndarray]) -> None:
    data = (GOLDEN / name).read_bytes()
    np.testing.assert_array_equal(reference_decoder.decode_alpha(data), expected[f"{name}:alpha"])
    names = {"i": "icc", "e": "exif", "x": "xmp"}
    stored = {key.split(":")[1]: value.tobytes() for key, value in expected.items() if key.startswith(f"{name}:")}
    del stored["alpha"]
    assert {names[kind]: blob for kind, blob in reference_decoder.decode_metadata(data).items()} == stored


def test_the_golden_files_have_every_kind_of_chunk_and_alpha_in_bits_and_differences() -> None:
    chunks = [chunk for name in CHUNKS for chunk in read_rgc((GOLDEN / name).read_bytes()).chunks]
    assert {chunk.type for chunk in chunks} == {b"S", b"A", b"i", b"e", b"x"}
    assert {chunk.payload[0] for chunk in chunks if chunk.type == b"A"} >= {1, 4}
    assert {chunk.payload[0] for chunk in chunks if chunk.type in (b"i", b"e", b"x")} == {0, 1}


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "masked").glob("*.rgc")))
def test_golden_files_of_a_masked_context_decode_as_they_did(name: str) -> None:
    pack, data = GOLDEN / "masked" / "tiny-autoregressive.rgm", (GOLDEN / "masked" / name).read_bytes()
    model = Model.open(pack, threads=1)
    assert_the_reference_decoder_agrees(model, pack, data)
    with np.load(GOLDEN / "masked" / "expected.npz") as stored:
        assert sorted(stored.files) == ["colour.rgc", "loud.rgc", "one-pixel.rgc"]
        assert np.abs(decode_pixels(data, model).astype(int) - stored[name].astype(int)).max() <= ONE_LEVEL


def test_the_golden_escapes_reach_the_largest_symbol(model: Model) -> None:
    z, y, _ = decode_symbols(read_rgc((GOLDEN / "escapes.rgc").read_bytes()), model, Stopwatch())
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


@pytest.mark.parametrize("name", CHUNKS)
def test_every_truncation_is_refused(name: str, model: Model) -> None:
    data = (GOLDEN / name).read_bytes()
    for length in range(len(data)):
        with pytest.raises(RegcodecError):
            decode_picture(data[:length], model)


@pytest.mark.parametrize("name", CHUNKS)
def test_every_changed_byte_is_refused(name: str, model: Model) -> None:
    data = (GOLDEN / name).read_bytes()
    for place in range(len(data)):
        for change in CHANGES[len(data) > 1000]:
            changed = bytearray(data)
            changed[place] ^= change
            with pytest.raises(RegcodecError):
                decode_picture(bytes(changed), model)


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
