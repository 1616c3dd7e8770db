"""A short summary of samples that measures the difference of two mixes of a conversation.

A digest shows whether samples are equal, not whether they are nearly so: one sample of three million that was
rounded the other way changes it. The sketch of samples x is one number for each second, the sum of x with
pseudo-random signs. For two mixes x and y and signs that do not depend on them, the expected square of the
difference of two such sums is the energy of x − y in that second, whatever x and y are (Alon, Matias and
Szegedy, "The space complexity of approximating the frequency moments", STOC 1996); so a list of them
estimates the level of the difference beside that of the signal. A shift by one sample is as large a
difference as it sounds, which levels alone would not show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Two mixes are the same if their difference is 60 dB below the signal. Between processors, the rounding of
#: samples to 16 bits differs in one sample in some thousand at most, which is 90 dB below.
TOLERANCE = 1e-3


def sketch(samples: np.ndarray) -> tuple[int, ...]:
    """Sum of the samples of each second with fixed pseudo-random signs.

    Args:
        samples: (S,) int16 at 16 kHz.

    Returns:
        one integer for each second, the last for what is left; exact on every machine.
    """
    whole = np.zeros(-(-len(samples) // RATE_HZ) * RATE_HZ, dtype=np.int64)
    whole[: len(samples)] = samples
    # by element, since a product of matrices of integers is no faster
    return tuple(int(total) for total in (whole.reshape(-1, RATE_HZ) * _signs()).sum(axis=1))


def relative_difference(one: Sequence[int], other: Sequence[int]) -> float:
    """Estimated RMS of the difference of two mixes, relative to that of the first.

    Args:
        one: a `sketch`.
        other: another.

    Returns:
        0 for equal sketches, infinity for those of different lengths.
    """
    if len(one) != len(other):
        return float("inf")
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    error, signal = float(np.sum((a - b) ** 2)), float(np.sum(a**2))
    if error == 0.0:
        return 0.0
    return float(np.sqrt(error / signal)) if signal else float("inf")


def _signs() -> np.ndarray:
    """A second of −1 and 1 (int64), from an extendable hash and no generator whose stream may change."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_128(b"sdpn sketch").digest(RATE_HZ // 8), np.uint8))
    return 2 * bits.astype(np.int64) - 1
