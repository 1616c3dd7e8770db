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


class StreamResampler:
    """Resamples a stream in blocks, in memory that does not grow with its length.

    The concatenation of all blocks is `resample` of the concatenated input.

    Args:
        from_hz: rate of the input.
        to_hz: rate of the blocks.
        block: samples of each block; the last may be shorter.
    """

    def __init__(self, from_hz: int, to_hz: int, *, block: int) -> None:
        self._rates, self._block = (from_hz, to_hz), block
        self._held: list[np.ndarray] = []
        self._held_from = self._held_to = self._done = 0

    def push(self, piece: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next samples (n,) float32; yields the blocks (block,) that they complete."""
        self._held.append(piece)
        self._held_to += len(piece)
        while self._held_to >= (stretch := needed(self._done, self._block, *self._rates)).end:
            yield self._cut(stretch, self._block)
            keep = needed(self._done, self._block, *self._rates).begin
            self._held, self._held_from = [self._held[0][keep - self._held_from :]], keep

    def finish(self) -> Iterator[np.ndarray]:
        """End the stream; yields the other blocks."""
        length = resampled_length(self._held_to, *self._rates)
        while self._done < length:
            count = min(self._block, length - self._done)
            yield self._cut(needed(self._done, self._block, *self._rates), count)

    def _cut(self, stretch: Stretch, count: int) -> np.ndarray:
        self._held = self._held if len(self._held) == 1 else [np.concatenate(self._held)]
        cut = self._held[0][stretch.begin - self._held_from : stretch.end - self._held_from]
        self._done += count
        return resample(cut, *self._rates)[stretch.skip : stretch.skip + count]


def resample_stream(
    pieces: Iterable[np.ndarray], from_hz: int, to_hz: int, *, block: int
) -> Iterator[np.ndarray]:
    """Resample a stream with a `StreamResampler`.

    Args:
        pieces: the input (n,) float32, in pieces of any length.
        from_hz: its rate.
        to_hz: rate of the result.
        block: samples of each block; the last may be shorter.
    """
    resampler = StreamResampler(from_hz, to_hz, block=block)
    for piece in pieces:
        yield from resampler.push(piece)
    yield from resampler.finish()
