"""The range coder: any symbol comes back, and the words are those of the format page's arithmetic."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcodec.coding.escape import LARGEST_SYMBOL, escape_bits, escape_digits, read_escape
from regcodec.coding.range_coder import SymbolDecoder, SymbolEncoder
from regcodec.coding.tables import PRECISION, TOTAL, FrequencyTables
from regcodec.errors import DamagedFileError, LimitError
from tests import reference_decoder


def tables_of(*rows: list[int], lows: list[int]) -> FrequencyTables:
    made = FrequencyTables(
        np.concatenate([np.array(row, np.uint32) for row in rows]),
        np.array([len(row) for row in rows], np.int32),
        np.array(lows, np.int32),
    )
    made.validate()
    return made


def random_tables(seed: int, count: int) -> FrequencyTables:
    """Tables of 2 to 40 entries, from flat to one entry that has almost everything."""
    draw = np.random.default_rng(seed)
    rows, lows = [], []
    for _ in range(count):
        length = int(draw.integers(2, 41))
        mass = draw.dirichlet(np.full(length, draw.choice([0.02, 1.0, 50.0])))
        row = 1 + np.floor(mass * (TOTAL - length)).astype(np.int64)
        row[draw.integers(length)] += TOTAL - row.sum()
        rows.append(row.tolist())
        lows.append(int(draw.integers(-30, 10)))
    return tables_of(*rows, lows=lows)


TABLES = random_tables(1, 12)
SKEWED = tables_of([TOTAL - 2, 1, 1], [1, TOTAL - 2, 1], [1, 1, TOTAL - 2], lows=[0, 0, 0])


def encode(symbols: np.ndarray, indices: np.ndarray, tables: FrequencyTables) -> bytes:
    coder = SymbolEncoder()
    coder.encode(symbols, indices, tables)
    return coder.finish()


def decode(stream: bytes, indices: np.ndarray, tables: FrequencyTables) -> np.ndarray:
    coder = SymbolDecoder(stream)
    symbols = coder.decode(indices, tables)
    coder.finish()
    return symbols


def intervals_of(symbols: np.ndarray, indices: np.ndarray, tables: FrequencyTables) -> list[tuple[int, int]]:
    """(left, frequency) of everything coded, in the order of docs/format.md."""
    intervals = []
    for table in sorted(set(indices.tolist())):
        group = symbols[indices == table].tolist()
        row, low = tables.frequencies_of(table).tolist(), int(tables.lows[table])
        inside = range(low, low + len(row) - 1)
        for symbol in group:
            entry = symbol - low if symbol in inside else len(row) - 1
            intervals.append((sum(row[:entry]), row[entry]))
        for symbol in group:
            if symbol not in inside:
                intervals += [(digit * TOTAL // count, TOTAL // count) for digit, count in page_digits(symbol, inside)]
    return intervals


def page_digits(symbol: int, inside: range) -> list[tuple[int, int]]:
    """(digit, how many are equally likely) of an escape, from the bits as the format page writes them."""
    n = 2 * (symbol - inside[-1] - 1) + 1 if symbol > inside[-1] else 2 * (inside[0] - 1 - symbol) + 2
    bits = f"{n:b}"[1:]
    parts = [bits[:-16], bits[-16:]] if len(bits) > 16 else [bits]
    return [(len(bits), 32), *((int(part, 2), 2 ** len(part)) for part in parts if part)]


far = st.sampled_from([sign * 2**bits + near for bits in range(29) for sign in (1, -1) for near in (-1, 0, 1)])
any_symbol = st.integers(-60, 60) | far | st.sampled_from([LARGEST_SYMBOL, -LARGEST_SYMBOL])
placed = st.lists(st.tuples(any_symbol, st.integers(0, len(TABLES) - 1)), max_size=80)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in pairs], np.int32), np.array([t for _, t in pairs], np.uint8)


@given(placed)
def test_any_symbol_comes_back_even_outside_its_table(pairs: list[tuple[int, int]]) -> None:
    symbols, indices = arrays(pairs)
    np.testing.assert_array_equal(decode(encode(symbols, indices, TABLES), indices, TABLES), symbols)


@given(placed)
def test_words_are_those_of_the_big_integer_coder(pairs: list[tuple[int, int]]) -> None:
    symbols, indices = arrays(pairs)
    words = np.frombuffer(encode(symbols, indices, TABLES), "<u4")
    assert words.tolist() == reference_decoder.encode_words(intervals_of(symbols, indices, TABLES))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 3000))
def test_words_carry_through_long_runs_as_the_big_integers_do(seed: int, count: int) -> None:
    """Almost certain symbols at the top of the range keep `lower` just below a carry."""
    draw = np.random.default_rng(seed)
    indices = draw.choice(3, count, p=draw.dirichlet([0.3, 0.3, 0.3])).astype(np.uint8)
    symbols = np.where(draw.random(count) < 0.02, draw.integers(0, 2, count), np.minimum(indices, 1)).astype(np.int32)
    words = np.frombuffer(encode(symbols, indices, SKEWED), "<u4")
    assert words.tolist() == reference_decoder.encode_words(intervals_of(symbols, indices, SKEWED))
    np.testing.assert_array_equal(decode(words.tobytes(), indices, SKEWED), symbols)


def test_the_words_of_a_known_message_stay_as_they_were() -> None:
    table = tables_of([1 << 23, 1 << 22, 1 << 22], lows=[-1])
    symbols = np.array([-1, 0, -1, 7, -1, -100_000, 0, 0], np.int32)
    words = np.frombuffer(encode(symbols, np.zeros(8, np.uint8), table), "<u4")
    assert [f"{word:08x}" for word in words] == ["4dd0ec61", "a2f2c200"]


@given(st.lists(st.tuples(any_symbol, st.integers(0, 11)), max_size=30), st.lists(st.integers(0, 11), max_size=30))
def test_two_calls_share_one_stream(first: list[tuple[int, int]], second: list[int]) -> None:
    z, z_indices = arrays(first)
    y, y_indices = np.arange(len(second), dtype=np.int32), np.array(second, np.uint8)
    coder = SymbolEncoder()
    coder.encode(z, z_indices, TABLES)
    coder.encode(y, y_indices, TABLES)
    reader = SymbolDecoder(coder.finish())
    np.testing.assert_array_equal(reader.decode(z_indices, TABLES), z)
    np.testing.assert_array_equal(reader.decode(y_indices, TABLES), y)
    reader.finish()


def coded_frequencies(model: object, length: int) -> list[int]:
    """The frequencies that constriction codes with, by asking where the decoder's entries begin."""
    starts = [0]
    for entry in range(1, length):
        low, high = starts[-1] + 1, TOTAL
        while low < high:
            middle = (low + high) // 2
            # after the first two words, point = quantile * scale picks the entry that holds the quantile
            point = middle * ((2**64 - 1) >> PRECISION)
            words = np.array([point >> 32, point & 0xFFFFFFFF], np.uint32)
            found = constriction.stream.queue.RangeDecoder(words).decode(model, 1)[0]
            low, high = (low, middle) if found >= entry else (middle + 1, high)
        starts.append(low)
    return np.diff([*starts, TOTAL]).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_categorical_codes_with_exactly_the_packs_integers(seed: int) -> None:
    tables = random_tables(seed, 4)
    for table in range(len(tables)):
        row = tables.frequencies_of(table).tolist()
        assert sum(row) == TOTAL
        assert coded_frequencies(tables.model(table), len(row)) == row


def test_a_stream_is_within_a_permille_of_its_entropy() -> None:
    draw = np.random.default_rng(3)
    indices = draw.integers(0, len(TABLES), 60_000).astype(np.uint8)
    symbols = np.empty(len(indices), np.int32)
    for table in range(len(TABLES)):
        row = TABLES.frequencies_of(table)
        group = indices == table
        symbols[group] = TABLES.lows[table] + draw.choice(len(row), group.sum(), p=row / TOTAL)
    ideal = TABLES.ideal_bits(symbols, indices)
    real = 8 * len(encode(symbols, indices, TABLES))
    assert ideal <= real <= 1.001 * ideal + 64


@given(any_symbol, st.integers(0, len(TABLES) - 1))
def test_the_ideal_bits_of_one_symbol_are_those_of_its_intervals(symbol: int, table: int) -> None:
    symbols, indices = arrays([(symbol, table)])
    bits = sum(PRECISION - np.log2(frequency) for _, frequency in intervals_of(symbols, indices, TABLES))
    assert TABLES.ideal_bits(symbols, indices) == pytest.approx(bits)


@given(any_symbol, st.integers(-50, 50), st.integers(2, 40))
def test_every_escape_comes_back_and_its_digits_are_in_range(symbol: int, low: int, length: int) -> None:
    if low <= symbol <= low + length - 2:
        return
    pairs = list(escape_digits(symbol, low, length))
    assert all(0 <= digit < count <= 2**16 for digit, count in pairs)
    assert sum(count.bit_length() - 1 for _, count in pairs) == escape_bits(symbol, low, length)
    coming = iter(pairs)

    def next_digit(count: int) -> int:
        digit, wanted = next(coming)
        assert count == wanted
        return digit

    assert read_escape(next_digit, low, length) == symbol
    assert not list(coming)


def test_a_symbol_beyond_the_format_is_not_written() -> None:
    for symbol in (LARGEST_SYMBOL + 1, -LARGEST_SYMBOL - 1):
        with pytest.raises(LimitError, match=str(symbol)):
            encode(np.array([symbol], np.int32), np.zeros(1, np.uint8), TABLES)


@pytest.mark.parametrize("symbol", [LARGEST_SYMBOL + 1, -LARGEST_SYMBOL - 1, 2**31 - 1000, 1000 - 2**31])
def test_a_symbol_beyond_the_format_is_not_read(symbol: int) -> None:
    row, low = TABLES.frequencies_of(0).tolist(), int(TABLES.lows[0])
    escape = [(sum(row[:-1]), row[-1])]
    digits = page_digits(symbol, range(low, low + len(row) - 1))
    words = reference_decoder.encode_words(escape + [(d * TOTAL // n, TOTAL // n) for d, n in digits])
    with pytest.raises(DamagedFileError):
        decode(np.array(words, "<u4").tobytes(), np.zeros(1, np.uint8), TABLES)


@given(st.binary(max_size=64), st.integers(0, 40))
def test_any_words_decode_to_something_or_are_refused(data: bytes, count: int) -> None:
    indices = np.arange(count, dtype=np.uint8) % len(TABLES)
    try:
        symbols = decode(data, indices, TABLES)
    except DamagedFileError:
        return
    assert symbols.shape == (count,)


@given(placed)
def test_two_words_too_many_are_refused(pairs: list[tuple[int, int]]) -> None:
    symbols, indices = arrays(pairs)
    with pytest.raises(DamagedFileError, match="do not end"):
        decode(encode(symbols, indices, TABLES) + b"\0" * 12, indices, TABLES)


@given(placed, st.binary(min_size=4, max_size=8))
def test_the_end_of_a_stream_is_where_the_format_page_has_it(pairs: list[tuple[int, int]], tail: bytes) -> None:
    symbols, indices = arrays(pairs)
    stream = encode(symbols, indices, TABLES) + tail[: len(tail) // 4 * 4]
    words = np.frombuffer(stream, "<u4").tolist()
    coder = reference_decoder.RangeDecoder(words)
    for left, frequency in intervals_of(symbols, indices, TABLES):
        coder.consume(left, frequency)
    try:
        decode(stream, indices, TABLES)
        ended = True
    except DamagedFileError:
        ended = False
    assert ended == reference_decoder.exhausted(coder) or not pairs


@pytest.mark.parametrize(
    "broken",
    [
        {"frequencies": np.array([TOTAL, 0], np.uint32)},
        {"frequencies": np.array([TOTAL - 2, 1], np.uint32)},
        {"frequencies": np.array([1, TOTAL - 2, 1], np.uint32)},
        {"lengths": np.array([1, 1], np.int32), "lows": np.array([0, 0], np.int32)},
        {"lengths": np.array([], np.int32), "lows": np.array([], np.int32), "frequencies": np.array([], np.uint32)},
        {"lows": np.array([0, 0], np.int32)},
        {"lows": np.array([1 << 20], np.int32)},
        {"lengths": np.array([0], np.int32)},
        {"lengths": np.array([-2], np.int32)},
    ],
    ids=["zero", "sum", "left over", "one entry", "none", "lows", "far low", "empty", "negative"],
)
def test_a_table_that_cannot_be_coded_with_is_refused(broken: dict[str, np.ndarray]) -> None:
    good = {
        "frequencies": np.array([TOTAL - 1, 1], np.uint32),
        "lengths": np.array([2], np.int32),
        "lows": np.array([0], np.int32),
    }
    FrequencyTables(**good).validate()
    with pytest.raises(DamagedFileError):
        FrequencyTables(**{**good, **broken}).validate()
