"""Seeded draws, equal on every machine and Python version, and cheap enough for one generator per object."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""Increment of SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014."""


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Draw:
    """A stream of draws named by a seed and any parts; the same name gives the same stream."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, *parts: int | str) -> None:
        state = _mix((seed + _GOLDEN) & _MASK)
        for part in parts:
            number = zlib.crc32(part.encode()) if isinstance(part, str) else part
            state = _mix(((state ^ (number & _MASK)) + _GOLDEN) & _MASK)
        self._state = state

    def number(self) -> int:
        """Return the next 64-bit number."""
        # `_mix` written out: most of the time that a large world takes to build is spent here.
        value = self._state = (self._state + _GOLDEN) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        return value ^ (value >> 31)

    def below(self, limit: int) -> int:
        """Return 0 <= n < limit; the bias is under 2^-40 for the limits used here."""
        return self.number() % limit

    def between(self, low: int, high: int) -> int:
        """Return low <= n <= high."""
        return low + self.number() % (high - low + 1)

    def fraction(self) -> float:
        """Return 0 <= x < 1."""
        return (self.number() >> 11) / (1 << 53)

    def chance(self, probability: float) -> bool:
        """Return true with the given probability."""
        return self.fraction() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options, all equally likely."""
        return options[self.number() % len(options)]

    def skewed(self, options: Sequence[T]) -> T:
        """Return one of the options, the first ones far more often: about ten to one from first to last."""
        return options[int(self.fraction() ** 2.2 * len(options))]

    def hexadecimal(self, length: int) -> str:
        """Return `length` lower-case hexadecimal digits."""
        digits = ""
        while len(digits) < length:
            digits += f"{self.number():016x}"
        return digits[:length]

    def uuid(self) -> str:
        """Return a version 4 UUID in lower case."""
        digits = self.hexadecimal(32)
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
