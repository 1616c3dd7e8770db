"""Speed perturbation by resampling, which shifts pitch, formants and tempo together."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import ceil

import numpy as np

#: Zero crossings of the interpolation filter on each side, and samples lost at each end.
_REACH = 10


def speed_fraction(factor: float) -> Fraction:
    """Approximate a speed factor by a ratio of small integers: 1.1 is 11/10."""
    return Fraction(factor).limit_denominator(20)


def samples_needed(num_samples: int, speed: Fraction) -> int:
    """Number of input samples of `change_speed` for ``num_samples`` output samples."""
    return num_samples if speed == 1 else ceil((num_samples + 2 * _margin(speed)) * speed)


def change_speed(wave: np.ndarray, speed: Fraction, num_samples: int) -> np.ndarray:
    """Change the speed by resampling.

    Args:
        wave: (S,) float32, S = ``samples_needed(num_samples, speed)``.
        speed: speed factor; above 1 is faster and higher in pitch.
        num_samples: length of the result.

    Returns:
        (num_samples,) float32, without the incomplete output at both ends of the filter.
    """
    margin = 0 if speed == 1 else _margin(speed)
    return at_speed(wave, speed)[margin : margin + num_samples]


def at_speed(wave: np.ndarray, speed: Fraction) -> np.ndarray:
    """Change the speed of a whole utterance (S,), ends included: (about S / speed,) float32."""
    if speed == 1:
        return wave
    from scipy.signal import resample_poly

    changed: np.ndarray = resample_poly(
        wave, speed.denominator, speed.numerator, window=_filter(speed.denominator, speed.numerator)
    )
    return changed


def _margin(speed: Fraction) -> int:
    return ceil(_REACH / min(Fraction(1), speed)) + 1


@cache
def _filter(up: int, down: int) -> np.ndarray:
    """The low-pass filter that `scipy.signal.resample_poly` would design in every call."""
    from scipy.signal import firwin

    widest = max(up, down)
    taps: np.ndarray = firwin(2 * _REACH * widest + 1, 1 / widest, window=("kaiser", 5.0))
    return taps.astype(np.float32)
