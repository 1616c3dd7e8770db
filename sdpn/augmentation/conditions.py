"""Degradations of recordings for testing: noise, a measured room, a telephone.

Unlike in augmentation, whole utterances are degraded once, with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import oaconvolve

from sdpn.augmentation.additive_noise import AdditiveNoise, mix
from sdpn.augmentation.bands import BANDS, limit_band
from sdpn.augmentation.rooms import trim_room

#: Samples (S,) at 16 kHz and a generator to other samples (S,).
Condition = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise_at(noises: Sequence[np.ndarray], snr_db: tuple[float, float]) -> Condition:
    """One of several noises, repeated where it is too short, at a ratio drawn from a range in dB."""

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        clip = np.resize(noises[int(rng.integers(len(noises)))], len(wave))
        ratio = snr_db[0] if snr_db[0] == snr_db[1] else rng.uniform(*snr_db)
        return mix(wave, AdditiveNoise("noise", clip, ratio))

    return degrade


def measured_room(responses: Sequence[np.ndarray]) -> Condition:
    """One of several rooms."""
    rooms = [trim_room(response) for response in responses]

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wet: np.ndarray = oaconvolve(wave, rooms[int(rng.integers(len(rooms)))])[: len(wave)]
        return wet.astype(np.float32)

    return degrade


def telephone(wave: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """300 to 3400 Hz and 8 bits of µ-law; nothing is drawn."""
    return limit_band(wave, BANDS["telephone"])


def sometimes(share: float, condition: Condition) -> Condition:
    """A condition, or with the remaining probability none."""

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return condition(wave, rng) if rng.random() < share else wave

    return degrade


def one_after_another(*conditions: Condition) -> Condition:
    """Several conditions, in their order."""

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for condition in conditions:
            wave = condition(wave, rng)
        return wave

    return degrade
