"""Augmentation of local crops: rooms, spectral tilt, noise, babble, gain; masks after the log.

Everything linear (room, tilt) is one multiplication in the frequency domain, so a view costs one forward and
one inverse FFT. Each view draws from the generator it is handed, which the data set seeds by
(run seed, epoch, utterance, view): the number of workers changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import read_data_dir

#: Longest part of a room response that is used, in seconds.
_ROOM_S = 0.5


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What happens to a local crop. Probabilities are per crop and independent.

    Attributes:
        noise: Kaldi data directory of noise recordings; None adds no recorded noise.
        rir: Kaldi data directory of room impulse responses; None uses simulated rooms only.
        noise_probability: of adding recorded noise.
        noise_snr_db: range of its signal-to-noise ratio.
        babble_probability: of adding other utterances of the corpus.
        babble_snr_db: range of the signal-to-babble ratio.
        babble_talkers: most talkers in a babble.
        room_probability: of a room.
        simulated_room_share: share of rooms that are simulated (noise with exponential decay) although
            measured ones are there.
        room_decay_s: range of the reverberation time RT60 of simulated rooms.
        tilt_probability: of a random smooth equaliser.
        tilt_db: its largest gain or cut.
        gain_db: range of a random gain.
    """

    noise: Path | None = None
    rir: Path | None = None
    noise_probability: float = 0.5
    noise_snr_db: tuple[float, float] = (0.0, 15.0)
    babble_probability: float = 0.3
    babble_snr_db: tuple[float, float] = (8.0, 20.0)
    babble_talkers: int = 4
    room_probability: float = 0.5
    simulated_room_share: float = 0.7
    room_decay_s: tuple[float, float] = (0.1, 0.7)
    tilt_probability: float = 0.7
    tilt_db: float = 9.0
    gain_db: tuple[float, float] = (-12.0, 6.0)

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "noise_probability",
            "babble_probability",
            "room_probability",
            "simulated_room_share",
            "tilt_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1")
        for name in ("noise_snr_db", "babble_snr_db", "room_decay_s", "gain_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high]")
        if self.babble_talkers < 1 or self.tilt_db < 0 or self.room_decay_s[0] <= 0:
            raise ValueError("babble_talkers and room_decay_s must be positive, tilt_db not negative")


class Augmenter:
    """Applies `AugmentationConfig` to crops. Holds the noises and room responses in memory."""

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config
        self._noises = _load(config.noise, "noise")
        self._rooms = [trim_room(room) for room in _load(config.rir, "room impulse responses")]

    def __call__(
        self,
        wave: np.ndarray,
        rng: np.random.Generator,
        draw_speech: Callable[[int, np.random.Generator], np.ndarray],
    ) -> np.ndarray:
        """Augment one crop.

        Args:
            wave: (S,) float32, a clean crop.
            rng: generator of this view.
            draw_speech: gives (S,) samples of a random other utterance, for babble.

        Returns:
            (S,) float32.
        """
        config, num_samples = self.config, len(wave)
        room = self._draw_room(rng) if rng.random() < config.room_probability else None
        tilt = rng.random() < config.tilt_probability
        if room is not None or tilt:
            wave = _filter(wave, room, _tilt_db(rng, config.tilt_db) if tilt else None)
        if self._noises and rng.random() < config.noise_probability:
            noise = _cut(self._noises[rng.integers(len(self._noises))], num_samples, rng)
            wave = _mix(wave, noise, rng.uniform(*config.noise_snr_db))
        if rng.random() < config.babble_probability:
            talkers = int(rng.integers(1, config.babble_talkers + 1))
            babble = np.sum([_unit_power(draw_speech(num_samples, rng)) for _ in range(talkers)], axis=0)
            wave = _mix(wave, babble, rng.uniform(*config.babble_snr_db))
        gain = np.float32(10 ** (rng.uniform(*config.gain_db) / 20))
        return np.clip(wave * gain, -1.0, 1.0).astype(np.float32, copy=False)

    def _draw_room(self, rng: np.random.Generator) -> np.ndarray:
        if self._rooms and rng.random() >= self.config.simulated_room_share:
            return self._rooms[rng.integers(len(self._rooms))]
        return simulate_room(rng.uniform(*self.config.room_decay_s), rng)


def simulate_room(rt60_s: float, rng: np.random.Generator) -> np.ndarray:
    """Room impulse response: a direct sound, then Gaussian noise that decays by 60 dB in ``rt60_s``.

    The direct-to-reverberant ratio is drawn between −3 and 12 dB.

    Returns:
        (R,) float32 with unit energy, R at most half a second.
    """
    num_samples = max(2, int(min(rt60_s, _ROOM_S) * RATE_HZ))
    decay = np.exp(-np.log(1000.0) / (rt60_s * RATE_HZ) * np.arange(num_samples))
    response = rng.standard_normal(num_samples) * decay
    response[0] = 0.0
    response *= 10 ** (-rng.uniform(-3.0, 12.0) / 20) / np.linalg.norm(response)
    response[0] = 1.0
    return (response / np.linalg.norm(response)).astype(np.float32)


def trim_room(room: np.ndarray) -> np.ndarray:
    """Start a measured response at the direct sound, so that it does not shift the speech.

    Args:
        room: (R,), not all zero.

    Returns:
        (R',) float32 with unit energy, R' at most half a second.
    """
    start = max(0, int(np.abs(room).argmax()) - RATE_HZ // 1000)
    room = room[start : start + int(_ROOM_S * RATE_HZ)]
    return (room / np.linalg.norm(room)).astype(np.float32)


def _load(directory: Path | None, what: str) -> list[np.ndarray]:
    if directory is None:
        return []
    waves = [entry.read() for entry in read_data_dir(directory)]
    waves = [wave for wave in waves if np.any(wave)]
    if not waves:
        raise InputError(f"every recording of the {what} is silent", path=directory)
    return waves


def _tilt_db(rng: np.random.Generator, limit_db: float) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth random gain over frequency: linear interpolation between octave points."""
    points_hz = np.array([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])
    gains_db = np.clip(np.cumsum(rng.standard_normal(len(points_hz))) * limit_db / 3, -limit_db, limit_db)
    gains_db -= gains_db.mean()
    return lambda frequency_hz: np.interp(frequency_hz, points_hz, gains_db)


def _filter(
    wave: np.ndarray, room: np.ndarray | None, tilt_db: Callable[[np.ndarray], np.ndarray] | None
) -> np.ndarray:
    """Convolve with a room and an equaliser in one pass; the length and the power stay."""
    from scipy.fft import irfft, next_fast_len, rfft

    tail = 0 if room is None else len(room)
    size = next_fast_len(len(wave) + tail, real=True)
    spectrum = rfft(wave, size)
    if room is not None:
        spectrum *= rfft(room, size)
    if tilt_db is not None:
        coarse_hz = np.linspace(0.0, RATE_HZ / 2, 129)
        gain = 10 ** (tilt_db(coarse_hz) / 20)
        spectrum *= np.interp(np.linspace(0.0, RATE_HZ / 2, len(spectrum)), coarse_hz, gain).astype(
            np.float32
        )
    filtered = irfft(spectrum, size)[: len(wave)]
    return filtered * np.sqrt(_power(wave) / max(_power(filtered), 1e-12)).astype(np.float32)


def _mix(wave: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add ``noise`` at a signal-to-noise ratio over the whole crop."""
    noise_power = _power(noise)
    if noise_power < 1e-10:
        return wave
    return wave + noise * np.float32(np.sqrt(_power(wave) / noise_power * 10 ** (-snr_db / 10)))


def _cut(wave: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    if len(wave) < num_samples:
        wave = np.resize(wave, num_samples)
    start = int(rng.integers(0, len(wave) - num_samples + 1))
    return wave[start : start + num_samples]


def _power(wave: np.ndarray) -> float:
    return float(np.dot(wave, wave)) / len(wave)


def _unit_power(wave: np.ndarray) -> np.ndarray:
    return wave / np.float32(np.sqrt(max(_power(wave), 1e-10)))
