"""Symbols outside their table: an Elias gamma code in equally likely digits, after the group they belong to.

A symbol above its table has distance d = symbol - highest - 1 and n = 2d + 1, one below has d = lowest - 1 - symbol
and n = 2d + 2.
n has k bits (1..32): k - 1 is coded as one of 32, then the k - 1 bits under the leading one, from the
highest: those above the lowest sixteen as one digit, the lowest sixteen (or fewer) as another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from regcodec.errors import DamagedFileError, LimitError

LARGEST_SYMBOL = 1 << 29
"""Bound on the magnitude of a symbol; n stays below 2^32."""
_LENGTHS = 32
_DIGIT = 16


def escape_digits(symbol: int, low: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield (digit, number of equally likely digits) for `symbol`, outside a table of `length` entries from `low`."""
    if abs(symbol) > LARGEST_SYMBOL:
        raise LimitError(f"a symbol of {symbol} is beyond the format's {LARGEST_SYMBOL}.")
    highest = low + length - 2
    n = 2 * (symbol - highest - 1) + 1 if symbol > highest else 2 * (low - 1 - symbol) + 2
    bits = n.bit_length() - 1
    yield bits, _LENGTHS
    rest = n - (1 << bits)
    if bits > _DIGIT:
        yield rest >> _DIGIT, 1 << (bits - _DIGIT)
    if bits:
        low_bits = min(bits, _DIGIT)
        yield rest & ((1 << low_bits) - 1), 1 << low_bits


def read_escape(next_digit: Callable[[int], int], low: int, length: int) -> int:
    """Return the symbol whose digits `next_digit(count)` gives."""
    bits = next_digit(_LENGTHS)
    n = 1
    if bits > _DIGIT:
        n = (n << (bits - _DIGIT)) | next_digit(1 << (bits - _DIGIT))
    if bits:
        low_bits = min(bits, _DIGIT)
        n = (n << low_bits) | next_digit(1 << low_bits)
    distance, below = divmod(n - 1, 2)
    symbol = low - 1 - distance if below else low + length - 1 + distance
    if abs(symbol) > LARGEST_SYMBOL:
        raise DamagedFileError(f"a symbol of {symbol} is beyond the format's {LARGEST_SYMBOL}.")
    return symbol


def escape_bits(symbol: int, low: int, length: int) -> int:
    """Return the bits that the digits of `symbol` take."""
    return sum(count.bit_length() - 1 for _, count in escape_digits(symbol, low, length))
