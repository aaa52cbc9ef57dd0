"""The mutations of the fuzzer without the fuzzer, in every run of the suite; docs/reliability.md has the long runs."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcodec.bitstream.container import read_rgc
from regcodec.codec.model import Model
from regcodec.codec.picture import decode_picture
from regcodec.errors import RegcodecError
from tests.conftest import GOLDEN
from tests.fuzz.mutate import Mutator, join, parse

SEEDS = sorted(GOLDEN.glob("*.rgc"))
MAX_PIXELS = 4_000_000


def changed(part: bytes, draw: Random) -> bytes:
    """Change, cut out or insert a few bytes."""
    out = bytearray(part)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(out) + 1)
        what = draw.randrange(3)
        if what == 0 and place < len(out):
            out[place] = draw.randrange(256)
        elif what == 1:
            del out[place : place + draw.randint(1, 8)]
        else:
            out[place:place] = draw.randbytes(draw.randint(1, 8))
    return bytes(out)


def is_error_or_picture(data: bytes, model: Model) -> bool:
    """Return whether there is a picture; its size is the file's. Anything but a `RegcodecError` goes through."""
    try:
        picture = decode_picture(data, model, max_pixels=MAX_PIXELS)
    except RegcodecError:
        return False
    file = read_rgc(data)
    assert picture.pixels.shape[:2] == (file.height, file.width)
    assert picture.alpha is None or picture.alpha.shape == (file.height, file.width)
    return True


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_a_file_that_is_taken_apart_and_joined_again_is_the_same(path: Path) -> None:
    data = path.read_bytes()
    parts = parse(data)
    assert parts is not None
    assert join(parts) == data


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_a_mutation_with_fitting_checksums_is_an_error_or_a_picture_of_its_size(path: Path, model: Model) -> None:
    mutator, data = Mutator(model), path.read_bytes()
    pictures = 0
    for seed in range(60):
        draw = Random(seed)
        data = path.read_bytes() if seed % 5 == 0 else data
        data = mutator(data, draw, lambda part, draw=draw: changed(part, draw))[: 1 << 16]
        pictures += is_error_or_picture(data, model)
    assert pictures > 0  # the mutations do get behind the checksums


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_an_error(model: Model, data: bytes) -> None:
    assert not is_error_or_picture(data, model)


@settings(max_examples=200)
@given(st.binary(max_size=120), st.sampled_from(SEEDS))
def test_random_bytes_after_a_header_are_an_error(model: Model, data: bytes, path: Path) -> None:
    good = path.read_bytes()
    assert not is_error_or_picture(good[:30] + data, model)
