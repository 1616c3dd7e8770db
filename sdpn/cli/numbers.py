"""Numbers on the command line: option types that reject values out of range."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def at_least(fewest: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from ``fewest`` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = fewest - 1
        if value < fewest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {fewest}, found {text!r}")
        return value

    return parse


def seconds(text: str) -> float:
    """The type of an option that takes a duration."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds >= 0, found {text!r}")
    return value
