"""Resampling of a whole signal, of a range and of a stream, with bitwise identical results.

The filter is scipy's polyphase filter. An output sample is the dot product of one of its phases with the
input around it. A range that starts at a multiple of the period and includes the filter's length on both
sides therefore gives the same result as the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd
from typing import NamedTuple

import numpy as np

#: Zero crossings of scipy's polyphase filter on each side.
_FILTER_REACH = 10


class Stretch(NamedTuple):
    """The range of the input that a range of the output depends on.

    Attributes:
        begin: first frame of the input.
        end: the frame after the last; beyond the end of the input nothing is needed.
        skip: output samples of that stretch to leave out at its start.
    """

    begin: int
    end: int
    skip: int


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample with scipy's polyphase filter.

    Args:
        samples: (S,) float32.
        from_hz: rate of ``samples``.
        to_hz: rate of the result.

    Returns:
        (ceil(S * to_hz / from_hz),) float32.
    """
    if from_hz == to_hz:
        return samples
    if not len(samples):
        return np.zeros(0, dtype=np.float32)
    from scipy.signal import resample_poly  # imports half of scipy: only when it is needed

    resampled: np.ndarray = resample_poly(samples, *ratio(from_hz, to_hz))
    return resampled.astype(np.float32, copy=False)


def ratio(from_hz: int, to_hz: int) -> tuple[int, int]:
    """(up, down) of a resampling, without a common divisor."""
    divisor = gcd(from_hz, to_hz)
    return to_hz // divisor, from_hz // divisor


def resampled_length(count: int, from_hz: int, to_hz: int) -> int:
    """Samples that `resample` makes of ``count``."""
    up, down = ratio(from_hz, to_hz)
    return -(-count * up // down)


def needed(first: int, count: int, from_hz: int, to_hz: int) -> Stretch:
    """The input range that the output samples ``first`` … ``first + count - 1`` depend on."""
    up, down = ratio(from_hz, to_hz)
    reach = 0 if up == down else _FILTER_REACH * max(up, down)
    # whole periods of the polyphase filter, so that each sample meets the phase that it has in the whole
    period = max(0, (first * down - reach) // (up * down))
    return Stretch(period * down, -(-((first + count) * down + reach) // up), first - period * up)


def resample_stream(
    pieces: Iterable[np.ndarray], from_hz: int, to_hz: int, *, block: int
) -> Iterator[np.ndarray]:
    """Resample a stream in blocks, in memory that does not grow with its length.

    Args:
        pieces: the input (n,) float32, in pieces of any length.
        from_hz: its rate.
        to_hz: rate of the result.
        block: samples of each block; the last may be shorter.

    Yields:
        (block,) float32; their concatenation is `resample` of the concatenated pieces.
    """
    held: list[np.ndarray] = []
    held_from = held_to = done = 0
    for piece in pieces:
        held.append(piece)
        held_to += len(piece)
        while held_to >= (stretch := needed(done, block, from_hz, to_hz)).end:
            whole = held[0] if len(held) == 1 else np.concatenate(held)
            cut = whole[stretch.begin - held_from : stretch.end - held_from]
            yield resample(cut, from_hz, to_hz)[stretch.skip : stretch.skip + block]
            done += block
            keep = needed(done, block, from_hz, to_hz).begin
            held, held_from = [whole[keep - held_from :]], keep
    length = resampled_length(held_to, from_hz, to_hz)
    whole = np.concatenate(held) if held else np.zeros(0, dtype=np.float32)
    while done < length:
        stretch = needed(done, block, from_hz, to_hz)
        cut = whole[stretch.begin - held_from : stretch.end - held_from]
        yield resample(cut, from_hz, to_hz)[stretch.skip : stretch.skip + min(block, length - done)]
        done += block
