"""Additive noise at a given SNR: recorded noise and music, and babble of other utterances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sdpn.augmentation.equaliser import power
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.io.recordings import Recordings


class AdditiveNoise(NamedTuple):
    """A noise to add.

    Attributes:
        kind: kind of noise.
        wave: (S,) float32 samples, at any level.
        snr_db: signal-to-noise ratio over the whole crop.
    """

    kind: Literal["noise", "music", "babble"]
    wave: np.ndarray
    snr_db: float


class Sounds:
    """A folder of recordings to draw additive noise from.

    Args:
        kind: kind of noise.
        recordings: the recordings.
    """

    def __init__(self, kind: Literal["noise", "music"], recordings: Recordings) -> None:
        self._kind: Literal["noise", "music"] = kind
        self._recordings = recordings

    @classmethod
    def load(cls, directory: Path, kind: Literal["noise", "music"], *, cache_mb: int) -> Sounds:
        """The recordings of a Kaldi data directory.

        Raises:
            InputError: it is not one, is empty, or all of its recordings are silent.
        """
        entries = read_data_dir(directory)
        if not any(np.any(entry.read()) for entry in entries):  # stops at the first non-silent recording
            raise InputError(f"all recordings of {kind} are silent", path=directory)
        return cls(kind, Recordings(entries, cache_mb=cache_mb))

    def draw(self, num_samples: int, snr_db: tuple[float, float], rng: np.random.Generator) -> AdditiveNoise:
        """Draw a section of a recording, repeated if it is too short, and an SNR."""
        index = int(rng.integers(len(self._recordings)))
        length = self._recordings.length(index)
        first = int(rng.integers(0, max(length, num_samples) - num_samples + 1))
        wave = self._recordings.read(index, first, min(length, num_samples))
        if length < num_samples:
            wave = np.resize(wave, num_samples)
        return AdditiveNoise(self._kind, wave, rng.uniform(*snr_db))


def babble(
    num_samples: int,
    most_talkers: int,
    snr_db: tuple[float, float],
    draw_speech: Callable[[int, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
) -> AdditiveNoise:
    """Draw talkers of equal level, and the SNR of the speech against their sum.

    Args:
        num_samples: length.
        most_talkers: maximum number of talkers; the number is uniform from 1.
        snr_db: range of the SNR.
        draw_speech: returns (S,) samples of a random other utterance.
        rng: random generator.
    """
    talkers = int(rng.integers(1, most_talkers + 1))
    wave = np.zeros(num_samples, dtype=np.float32)
    for _ in range(talkers):
        speech = draw_speech(num_samples, rng)
        wave += speech * np.float32(1 / np.sqrt(max(power(speech), 1e-10)))
    return AdditiveNoise("babble", wave, rng.uniform(*snr_db))


def add_noise(
    wave: np.ndarray, additive_noise: AdditiveNoise, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Add noise to speech at its SNR; silent noise is ignored.

    Args:
        wave: (S,) float32 speech.
        additive_noise: the noise.
        out: output array, for example ``wave`` itself; None allocates one.
    """
    noise_power = power(additive_noise.wave)
    ratio = power(wave) / noise_power * 10 ** (-additive_noise.snr_db / 10) if noise_power >= 1e-10 else 0.0
    mixed: np.ndarray = np.add(wave, additive_noise.wave * np.float32(np.sqrt(ratio)), out=out)
    return mixed
