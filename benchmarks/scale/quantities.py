"""Numbers that know their unit, so that a sum of hours and bytes, or a rate taken for a total, cannot be printed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Self


class UnitError(ValueError):
    """Two quantities do not fit together, or one is not what was asked for."""


@dataclass(frozen=True)
class Quantity:
    """A value and the powers of its units.

    Use `Quantity.of`. Units multiply and cancel; sums need the same ones.
    """

    value: float
    powers: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def of(cls, value: float, unit: str = "") -> Self:
        """Read a unit such as ``core s/row`` or ``s/(query row)``: words multiply, what stands behind ``/`` divides."""
        above, _, below = unit.partition("/")
        powers = Counter(word for word in above.split() if word != "1")
        powers.subtract(below.strip("()").split())
        return cls(float(value), frozenset((word, power) for word, power in powers.items() if power))

    def _times(self, other: Quantity | float, sign: int) -> Quantity:
        if not isinstance(other, Quantity):
            other = Quantity(float(other))
        powers = Counter(dict(self.powers))
        for word, power in other.powers:
            powers[word] += sign * power
        kept = frozenset((word, power) for word, power in powers.items() if power)
        return Quantity(self.value * other.value**sign, kept)

    def __mul__(self, other: Quantity | float) -> Quantity:
        return self._times(other, 1)

    __rmul__ = __mul__

    def __truediv__(self, other: Quantity | float) -> Quantity:
        return self._times(other, -1)

    def __rtruediv__(self, other: float) -> Quantity:
        return Quantity(float(other))._times(self, -1)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.value + other.to(self.unit), self.powers)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.value - other.to(self.unit), self.powers)

    @property
    def unit(self) -> str:
        """The unit as `of` reads it, words in the order of the alphabet."""
        above = [word for word, power in sorted(self.powers) for _ in range(power)]
        below = [word for word, power in sorted(self.powers) for _ in range(-power)]
        return " ".join(above) + (f"/({' '.join(below)})" if below else "")

    def to(self, unit: str) -> float:
        """Give the value, which has to be in a unit; raises `UnitError`."""
        if Quantity.of(1.0, unit).powers != self.powers:
            raise UnitError(f"a quantity in {self.unit or 'no unit'!r} was taken for one in {unit or 'no unit'!r}")
        return self.value


def larger(*some: Quantity) -> Quantity:
    """Give the largest of quantities of one unit."""
    return max(some, key=lambda one: one.to(some[0].unit))


def rounded(value: float, digits: int = 2) -> str:
    """Write some digits that count; two are what a product of assumptions deserves."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    value = round(value, places)
    text = f"{value:,.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(quantity: Quantity) -> str:
    """Write a share; raises `UnitError` where it is none."""
    return f"{rounded(100 * quantity.to(''))} %"


# Of each kind: from what on, what one of them is, and its name. The last one takes what is smaller.
_TIME = (
    (365 * 86400, 365 * 86400, "years"),
    (2 * 86400, 86400, "days"),
    (3600, 3600, "h"),
    (60, 60, "min"),
    (1, 1, "s"),
)
_SMALL = ((1e-3, 1e-3, "ms"), (1e-6, 1e-6, "µs"), (1e-9, 1e-9, "ns"), (0, 1e-12, "ps"))
_SCALES = {
    "s": (*_TIME, *_SMALL),
    "core s": tuple((least, one, f"core {'hours' if name == 'h' else name}") for least, one, name in (*_TIME, *_SMALL)),
    "bytes": (
        (1e15, 1e15, "PB"),
        (1e12, 1e12, "TB"),
        (1e9, 1e9, "GB"),
        (1e6, 1e6, "MB"),
        (1e4, 1e3, "kB"),
        (0, 1, "bytes"),
    ),
}
_LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
_PLURALS = {"query": "queries", "process": "processes", "publish": "publishes", "audio_s": "seconds of audio"}
_FIRST = ("s", "query", "row")
_PER = {"s": "second", "audio_s": "second of audio"}


def shown(quantity: Quantity, digits: int = 2) -> str:
    """Write a quantity for people: hours, gigabytes, cores, or in its own unit."""
    above = " ".join(word for word, power in sorted(quantity.powers) for _ in range(power))
    below = [word for word, power in quantity.powers if power < 0]
    below.sort(key=lambda word: (_FIRST.index(word) if word in _FIRST else len(_FIRST), word))
    words = [_PER.get(word, word) for word in below]
    per = ""
    if words:
        several = f"{', '.join(words[:-1])} and {words[-1]}" if words[1:] else words[0]
        per = f" {'an' if several[0] in 'aeio' else 'a'} {several}"
    for least, one, name in _SCALES.get(above, ()):
        if abs(quantity.value) >= least:
            return f"{rounded(quantity.value / one, digits)} {name}{per}"
    number, name = rounded(quantity.value, digits), ""
    for one, word in _LARGE:
        if quantity.value >= one:
            number, name = rounded(quantity.value / one, digits), f" {word}"
            break
    noun = above if number == "1" and not name else _PLURALS.get(above, f"{above}s")
    return f"{number}{name} {noun}{per}" if above else f"{number}{name}{per}"
