"""Damage a file in ways that find faults: a little, in the middle, at what looks like a size."""

import random
from collections.abc import Sequence

WORDS = (
    *(b"0", b"-1", b"1e999", b"nan", b"Infinity", b"null", b"true", b"[]", b"{}", b'""'),
    *(b"9" * 30, b"2147483648", b"18446744073709551616", b"-9223372036854775809", b"0.1e-400"),
    *(b"../../etc/passwd", b"/dev/zero", b"/vsicurl/http://127.0.0.1:9/x", b"C:\\x", b"a\0b"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J", b"%s%n", b"\r\n\r\n", b"'" * 3),
    *(b"[" * 2000, b"(" * 300, b"{" * 500, b"<a>" * 300, b"A" * 5000),
    *(b"\x00" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x80"),
)
"""What is written over or between."""


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Give one of some files, damaged.

    Args:
        rng: Where chance comes from; the same one gives the same file.
        seeds: Files that are whole.
    """
    data = bytearray(rng.choice(seeds))
    for _ in range(1 + min(int(rng.expovariate(0.6)), 12)):
        rng.choice(WAYS)(rng, data)
    if rng.random() < 0.03:
        other = rng.choice(seeds)
        data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]
    return bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """A position, more often near the beginning, where headers are."""
    size = len(data)
    return rng.randint(0, size if rng.random() < 0.5 else min(size, 512))


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[_place(rng, data) % len(data)] ^= 1 << rng.randint(0, 7)


def _set(rng: random.Random, data: bytearray) -> None:
    if data:
        data[_place(rng, data) % len(data)] = rng.choice(
            (0, 1, 0x7F, 0x80, 0xFF, rng.randint(0, 255))
        )


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    begin = _place(rng, data)
    del data[begin : begin + rng.choice((1, 2, 8, 64))]


def _repeat(rng: random.Random, data: bytearray) -> None:
    begin = _place(rng, data)
    data[begin:begin] = data[begin : begin + rng.choice((1, 4, 32, 256))] * rng.randint(1, 4)


def _insert(rng: random.Random, data: bytearray) -> None:
    begin = _place(rng, data)
    data[begin:begin] = rng.choice(WORDS)


def _overwrite(rng: random.Random, data: bytearray) -> None:
    begin, word = _place(rng, data), rng.choice(WORDS)
    data[begin : begin + len(word)] = word


def _value(rng: random.Random, data: bytearray) -> None:
    """Put something in place of what stands between two marks of a text file."""
    marks = [place for place, byte in enumerate(data[:65536]) if byte in b'"=:,<>[]{} \n']
    if len(marks) > 1:
        first = rng.randrange(len(marks) - 1)
        data[marks[first] + 1 : marks[first + 1]] = rng.choice(WORDS)


WAYS = (_flip, _flip, _set, _set, _cut, _remove, _repeat, _insert, _overwrite, _value, _value)
"""Ways to damage, the likelier ones more than once."""
