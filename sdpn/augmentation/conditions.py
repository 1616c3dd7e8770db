"""Degradations of recordings for testing: noise, a measured room, a telephone.

Unlike in augmentation, whole utterances are degraded once, with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.signal import oaconvolve

from sdpn.augmentation.additive_noise import AdditiveNoise, add_noise
from sdpn.augmentation.bands import BANDS, limit_band
from sdpn.augmentation.rooms import trim_room
from sdpn.io.inputs import find_utterances

#: A degradation: samples (S,) at 16 kHz and a random generator to degraded samples (S,).
Condition = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise_at(noises: Sequence[np.ndarray], snr_db: tuple[float, float]) -> Condition:
    """Additive noise from several recordings, repeated if too short, at an SNR drawn from a range."""

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        clip = np.resize(noises[int(rng.integers(len(noises)))], len(wave))
        ratio = snr_db[0] if snr_db[0] == snr_db[1] else rng.uniform(*snr_db)
        return add_noise(wave, AdditiveNoise("noise", clip, ratio))

    return degrade


def measured_room(responses: Sequence[np.ndarray]) -> Condition:
    """Reverberation by one of several measured rooms."""
    rooms = [trim_room(response) for response in responses]

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wet: np.ndarray = oaconvolve(wave, rooms[int(rng.integers(len(rooms)))])[: len(wave)]
        return wet.astype(np.float32)

    return degrade


def telephone(wave: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Telephone: 300 to 3400 Hz and 8 bits of µ-law; deterministic."""
    return limit_band(wave, BANDS["telephone"])


def sometimes(share: float, condition: Condition) -> Condition:
    """Apply a condition with a probability."""

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return condition(wave, rng) if rng.random() < share else wave

    return degrade


def one_after_another(*conditions: Condition) -> Condition:
    """Apply several conditions in order."""

    def degrade(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for condition in conditions:
            wave = condition(wave, rng)
        return wave

    return degrade


def recorded_conditions(
    *,
    noise: Path | None = None,
    rir: Path | None = None,
    snr_db: tuple[float, float] = (5.0, 15.0),
    room_share: float = 1.0,
) -> list[Condition]:
    """Rooms and noises of data directories as conditions, rooms first.

    Args:
        noise: data directory or folder of noises; None adds none.
        rir: the same of measured room impulse responses; None leaves rooms out.
        snr_db: range that the ratio of speech to noise is drawn from.
        room_share: share of the utterances that are in a room.

    Raises:
        InputError: a directory or a recording in it cannot be read.
    """
    conditions: list[Condition] = []
    if rir is not None:
        room = measured_room([entry.read() for entry in find_utterances(rir, [])])
        conditions.append(room if room_share == 1.0 else sometimes(room_share, room))
    if noise is not None:
        conditions.append(noise_at([entry.read() for entry in find_utterances(noise, [])], snr_db))
    return conditions
