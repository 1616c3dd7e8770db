"""Values to try, as they are written on a command line: ``KEY=V1,V2,…`` or ``KEY=LOW..HIGH``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sdpn.config import parse_override
from sdpn.errors import InputError

#: Commas outside of brackets.
_COMMAS = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Range:
    """All numbers between two.

    Attributes:
        low: the lowest.
        high: the highest.
        log: whether orders of magnitude are equally likely, not values.
        whole: whether only whole numbers count.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, rng: np.random.Generator) -> float | int:
        """One of them, with four digits where they are not whole."""
        if self.whole:
            if not self.log:
                return int(rng.integers(int(self.low), int(self.high) + 1))
            return round(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        if self.log:
            return float(f"{math.exp(rng.uniform(math.log(self.low), math.log(self.high))):.4g}")
        return float(f"{rng.uniform(self.low, self.high):.4g}")


#: Setting -> what is tried.
Space: TypeAlias = Mapping[str, Sequence[object] | Range]


def parse_values(word: str) -> tuple[str, list[object] | Range]:
    """A setting and what is tried for it.

    ``KEY=V1,V2,…`` are values, each read as in a configuration; ``KEY=LOW..HIGH`` is a range, and
    ``KEY=LOW..HIGH,log`` one in which orders of magnitude are equally likely.

    Raises:
        InputError: the word is neither.
    """
    key, equals, text = word.partition("=")
    if not equals or not key or not text:
        raise InputError(f"cannot parse --try {word!r}", hint="expected KEY=V1,V2,…: fb=1,2.5,5")
    if ".." in text:
        return key, _range(word, text)
    values = [parse_override(f"{key}={value}")[1] for value in _COMMAS.split(text)]
    for number, value in enumerate(values):
        if value in values[:number] and type(value) is type(values[values.index(value)]):
            raise InputError(f"--try {word!r} has {value!r} twice")
    return key, values


def _range(word: str, text: str) -> Range:
    bounds, comma, kind = text.partition(",")
    hint = "expected KEY=LOW..HIGH, or KEY=LOW..HIGH,log, with numbers: optimizer.lr=0.001..0.1,log"
    low_text, _, high_text = bounds.partition("..")
    low, high = (parse_override(f"bound={bound}")[1] for bound in (low_text, high_text))
    if comma and kind != "log":
        raise InputError(f"cannot parse --try {word!r}", hint=hint)
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise InputError(f"cannot parse --try {word!r}", hint=hint)
    if low >= high or (comma and low <= 0):
        raise InputError(
            f"--try {word!r} is an empty range"
            if low >= high
            else f"--try {word!r} has no logarithm of {low}",
            hint=hint,
        )
    return Range(float(low), float(high), bool(comma), isinstance(low, int) and isinstance(high, int))
