"""Augmentation of local crops: rooms, tilt, noise, music, babble, band limits, clipping, codecs, gain.

Augmentation is first drawn, then applied, so that it can be inspected (`tools/augmentation_gallery.py`). The
data set seeds the generator of each view by (run seed, epoch, utterance, view), so that the number of workers
has no effect.

Why not audiomentations: it draws from Python's and NumPy's global generators, so that a resumed run would see
other views, and makes 1,460 views a second where this makes 4,670 (rooms, noise and gain, crops of 1.5 s, one
core); torch-audiomentations needs torchaudio's native extension, which recent torch does not load.

Speed is drawn here but applied by the data set, since it determines the length of the crop; erasing is
applied to the log features (`sdpn.augmentation.erasing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np

from sdpn.augmentation.additive_noise import AdditiveNoise, Sounds, add_noise, babble
from sdpn.augmentation.bands import BANDS, BandName, limit_band
from sdpn.augmentation.codecs import (
    CODECS,
    CodecName,
    Coding,
    check_codecs,
    clip_peaks,
    draw_coding,
    through_codec,
)
from sdpn.augmentation.equaliser import apply_filters, draw_tilt
from sdpn.augmentation.erasing import draw_erasure
from sdpn.augmentation.rooms import simulate_room, trim_room
from sdpn.augmentation.speed import speed_fraction
from sdpn.config import Choice
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Augmentation of local crops. Probabilities are per crop, independent unless ``combination`` is set.

    Attributes:
        noise: Kaldi data directory of noise recordings; None adds no recorded noise.
        music: Kaldi data directory of music; None adds no music.
        rir: Kaldi data directory of room impulse responses; None uses simulated rooms only.
        combination: joint probabilities of (nothing, a room, additive noise, both), which replace the
            independent ones of rooms, noise, music and babble; at most one kind of noise is added, of a kind
            drawn in proportion to those probabilities. None draws all independently.
        noise_probability: probability of adding recorded noise.
        noise_snr_db: range of the signal-to-noise ratio.
        music_probability: probability of adding music.
        music_snr_db: range of the signal-to-music ratio.
        babble_probability: probability of adding other utterances of the corpus.
        babble_snr_db: range of the signal-to-babble ratio.
        babble_talkers: maximum number of talkers in babble.
        room_probability: probability of reverberation.
        simulated_room_share: share of simulated rooms (noise with exponential decay) if measured ones are
            given.
        room_decay_s: range of the reverberation time RT60 of simulated rooms.
        tilt_probability: probability of a random smooth equaliser.
        tilt_db: maximum gain or cut of the equaliser.
        band_probability: probability of a band limit, such as that of a telephone.
        bands: band limits to draw from, equally likely: ``telephone`` (300 to 3400 Hz, µ-law), ``narrow``
            (100 to 3600 Hz), ``medium`` (50 to 6000 Hz) and ``wide`` (50 to 7000 Hz).
        clip_probability: probability of clipping, as in a recording whose level was set too high.
        clip_share: range of the limit as a share of the crop's peak.
        codec_probability: probability of a codec. It takes more time than everything else together
            (docs/augmentation.md).
        codecs: codecs to draw from, equally likely, each at a rate drawn from those in use: ``opus`` (6 to
            24 kbit/s), ``mp3`` (16 to 48), ``amr`` (GSM telephones, 4.75 to 12.2), ``mulaw`` and ``alaw``
            (landlines, 8 kHz).
        gain_db: range of the random gain.
        rounding_probability: probability of rounding to 16 bits after the gain, as in a file of that level.
        speed_probability: probability of a speed change, which shifts pitch and tempo.
        speed_factors: speeds to draw from, equally likely; 1.1 is a tenth faster.
        speed_speaker: ``new``: all crops of an utterance, including the teacher's, have the same speed, and
            speech at another speed counts as another speaker. ``same``: each local crop has its own speed, so
            that the network learns to ignore pitch.
        erase_probability: probability of masking frames and bands of the log features.
        erase_frames: maximum number of consecutive frames.
        erase_bands: maximum number of consecutive bands.
    """

    noise: Path | None = None
    music: Path | None = None
    rir: Path | None = None
    combination: tuple[float, float, float, float] | None = None
    noise_probability: float = 0.5
    noise_snr_db: tuple[float, float] = (0.0, 15.0)
    music_probability: float = 0.3
    music_snr_db: tuple[float, float] = (5.0, 15.0)
    babble_probability: float = 0.3
    babble_snr_db: tuple[float, float] = (8.0, 20.0)
    babble_talkers: int = 4
    room_probability: float = 0.5
    simulated_room_share: float = 0.7
    room_decay_s: tuple[float, float] = (0.1, 0.7)
    tilt_probability: float = 0.7
    tilt_db: float = 9.0
    band_probability: float = 0.0
    bands: tuple[BandName, ...] = tuple(BANDS)
    clip_probability: float = 0.0
    clip_share: tuple[float, float] = (0.2, 0.8)
    codec_probability: float = 0.0
    codecs: tuple[CodecName, ...] = tuple(CODECS)
    gain_db: tuple[float, float] = (-12.0, 6.0)
    rounding_probability: float = 0.0
    speed_probability: float = 0.0
    speed_factors: tuple[float, ...] = (0.9, 1.1)
    speed_speaker: Literal["new", "same"] = "new"
    erase_probability: float = 0.0
    erase_frames: int = 9
    erase_bands: int = 5

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "noise_probability",
            "music_probability",
            "babble_probability",
            "room_probability",
            "simulated_room_share",
            "tilt_probability",
            "band_probability",
            "clip_probability",
            "codec_probability",
            "rounding_probability",
            "speed_probability",
            "erase_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")
        for name in (
            "noise_snr_db",
            "music_snr_db",
            "babble_snr_db",
            "room_decay_s",
            "gain_db",
        ):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high]")
        if self.babble_talkers < 1 or self.tilt_db < 0 or self.room_decay_s[0] <= 0:
            raise ValueError("babble_talkers and room_decay_s must be positive, tilt_db not negative")
        if self.combination is not None and not (
            min(self.combination) >= 0 and abs(sum(self.combination) - 1) < 1e-3
        ):
            raise ValueError("combination must be four probabilities with sum 1")
        if self.band_probability and not self.bands:
            raise ValueError("band_probability needs bands")
        if self.codec_probability and not self.codecs:
            raise ValueError("codec_probability needs codecs")
        if not 0 < self.clip_share[0] <= self.clip_share[1] <= 1:
            raise ValueError("clip_share must lie between 0 and 1")
        if self.speed_probability and not self.speed_factors:
            raise ValueError("speed_probability needs speed_factors")
        if any(not 0.5 <= factor <= 2 for factor in self.speed_factors):
            raise ValueError("speed_factors must lie between 0.5 and 2")
        if min(self.erase_frames, self.erase_bands) < 0:
            raise ValueError("erase_frames and erase_bands must not be negative")

    @property
    def speaker_speeds(self) -> tuple[Fraction, ...]:
        """The speeds at which an utterance counts as one of another speaker each: 1 first."""
        if not self.speed_probability or self.speed_speaker == "same":
            return (Fraction(1),)
        return tuple(dict.fromkeys([Fraction(1), *map(speed_fraction, self.speed_factors)]))


_NOTHING = AugmentationConfig(
    noise_probability=0.0,
    music_probability=0.0,
    babble_probability=0.0,
    room_probability=0.0,
    tilt_probability=0.0,
    gain_db=(0.0, 0.0),
)

#: As published for SDPN (arXiv 2308.02774 and its public implementation). Noise, music and speech are equally
#: likely; the speech is a single recording. Its gain for reverberated crops is left out: features that are
#: normalised over time do not depend on it.
_PUBLISHED = AugmentationConfig(
    combination=(1 / 6, 3 / 6 * 1 / 4, 3 / 6 * 3 / 4, 2 / 6),
    noise_probability=1.0,
    noise_snr_db=(0.0, 15.0),
    music_probability=1.0,
    music_snr_db=(5.0, 15.0),
    babble_probability=1.0,
    babble_snr_db=(13.0, 20.0),
    babble_talkers=1,
    room_probability=1.0,
    simulated_room_share=0.0,
    tilt_probability=0.0,
    gain_db=(0.0, 0.0),
    erase_probability=0.2,
    erase_frames=9,
    erase_bands=5,
)

#: Presets for ``augmentation.preset``; other keys of the section override single settings.
PRESETS = {"default": AugmentationConfig(), "none": _NOTHING, "published": _PUBLISHED}

#: The section of a configuration.
AugmentationChoice = Annotated[AugmentationConfig, Choice("augmentation preset", PRESETS, key="preset")]

#: Steps of 16 bits up to full scale.
STEPS = np.float32(32767)

#: Returns (S,) samples of a random other utterance.
DrawSpeech = Callable[[int, np.random.Generator], np.ndarray]


class Drawn(NamedTuple):
    """The augmentation drawn for one view.

    Attributes:
        room: (R,) impulse response.
        rt60_s: reverberation time of a simulated room; None for measured rooms.
        tilt_db: gains of the equaliser at its points (`sdpn.augmentation.equaliser`).
        additive_noises: noises to add.
        band: name of the band limit.
        gain_db: gain, applied last.
        rounded: whether to round to 16 bits after the gain.
        clip_share: limit of clipping as a share of the peak; None does not clip.
        coding: codec and bit rate to encode and decode with; None for no codec.
    """

    room: np.ndarray | None
    rt60_s: float | None
    tilt_db: np.ndarray | None
    additive_noises: tuple[AdditiveNoise, ...]
    band: BandName | None
    gain_db: float
    rounded: bool
    clip_share: float | None = None
    coding: Coding | None = None


class Augmenter:
    """Draws and applies augmentation as configured.

    Args:
        config: the settings.
        cache_mb: memory for decoded noise and music each, for each loader process.

    Raises:
        InputError: a folder is not a data directory, is empty, or contains only silence; or
            PyAV cannot encode one of the codecs.
    """

    def __init__(self, config: AugmentationConfig, *, cache_mb: int = 256) -> None:
        self.config = config
        self._noise = None if config.noise is None else Sounds.load(config.noise, "noise", cache_mb=cache_mb)
        self._music = None if config.music is None else Sounds.load(config.music, "music", cache_mb=cache_mb)
        if config.codec_probability:
            check_codecs(config.codecs)
        self._rooms = [] if config.rir is None else _load_rooms(config.rir)

    def __call__(self, wave: np.ndarray, rng: np.random.Generator, draw_speech: DrawSpeech) -> np.ndarray:
        """Augment one crop.

        Args:
            wave: (S,) float32, a clean crop.
            rng: generator of this view.
            draw_speech: returns (S,) samples of a random other utterance, for babble.

        Returns:
            (S,) float32.
        """
        augmented: np.ndarray = self.apply([wave], [self.draw(len(wave), rng, draw_speech)])[0]
        return augmented

    def draw(self, num_samples: int, rng: np.random.Generator, draw_speech: DrawSpeech) -> Drawn:
        """Draw the augmentation of a crop of ``num_samples``; arguments as for `__call__`."""
        config = self.config
        room, additive_noise = _draw_combination(config.combination, rng)
        if room is None:
            room = rng.random() < config.room_probability
        response, rt60_s = self._draw_room(rng) if room else (None, None)
        tilt_db = draw_tilt(rng, config.tilt_db) if rng.random() < config.tilt_probability else None
        kinds = self._kinds(num_samples, draw_speech)
        if additive_noise is None:
            added = [draw(rng) for probability, draw in kinds if rng.random() < probability]
        elif additive_noise and (total := sum(probability for probability, _ in kinds)) > 0:
            shares = [probability / total for probability, _ in kinds]
            added = [kinds[rng.choice(len(kinds), p=shares)][1](rng)]
        else:
            added = []
        band: BandName | None = None
        if _happens(rng, config.band_probability):
            band = config.bands[rng.integers(len(config.bands))]
        gain_db = rng.uniform(*config.gain_db)
        rounded = _happens(rng, config.rounding_probability)
        clip_share = rng.uniform(*config.clip_share) if _happens(rng, config.clip_probability) else None
        coding = draw_coding(config.codecs, rng) if _happens(rng, config.codec_probability) else None
        return Drawn(response, rt60_s, tilt_db, tuple(added), band, gain_db, rounded, clip_share, coding)

    @staticmethod
    def apply(waves: Sequence[np.ndarray], drawn: Sequence[Drawn]) -> np.ndarray:
        """Apply the augmentation drawn for each of V crops (S,); batches take less time per crop.

        Returns:
            (V, S) float32, up to rounding independent of the batch.
        """
        augmented_VS = apply_filters(waves, [view.room for view in drawn], [view.tilt_db for view in drawn])
        for wave, effects in zip(augmented_VS, drawn, strict=True):
            for additive_noise in effects.additive_noises:
                add_noise(wave, additive_noise, out=wave)
            if effects.band is not None:
                wave[:] = limit_band(wave, BANDS[effects.band])
            if effects.clip_share is not None:
                wave[:] = clip_peaks(wave, effects.clip_share)
            if effects.coding is not None:
                wave[:] = through_codec(wave, effects.coding)
            wave *= np.float32(10 ** (effects.gain_db / 20))
            np.clip(wave, -1.0, 1.0, out=wave)
            if effects.rounded:
                np.rint(wave * STEPS, out=wave)
                wave /= STEPS
        return augmented_VS

    def draw_speed(self, rng: np.random.Generator) -> Fraction:
        """Draw the speed factor of an utterance or a view."""
        factors = self.config.speed_factors
        if not _happens(rng, self.config.speed_probability):
            return Fraction(1)
        return speed_fraction(factors[rng.integers(len(factors))])

    def draw_erasure(self, rng: np.random.Generator) -> np.ndarray:
        """Draw what to erase in the features of a view: (4,) int32, see `sdpn.augmentation.erasing`."""
        config = self.config
        return draw_erasure(rng, config.erase_probability, config.erase_frames, config.erase_bands)

    def _kinds(
        self, num_samples: int, draw_speech: DrawSpeech
    ) -> list[tuple[float, Callable[[np.random.Generator], AdditiveNoise]]]:
        """Enabled kinds of additive noise: (probability, function that draws one)."""
        config = self.config
        kinds: list[tuple[float, Callable[[np.random.Generator], AdditiveNoise]]] = []
        if self._noise is not None:
            kinds.append(
                (config.noise_probability, partial(self._noise.draw, num_samples, config.noise_snr_db))
            )
        if self._music is not None:
            kinds.append(
                (config.music_probability, partial(self._music.draw, num_samples, config.music_snr_db))
            )
        talk = partial(babble, num_samples, config.babble_talkers, config.babble_snr_db, draw_speech)
        return [*kinds, (config.babble_probability, talk)]

    def _draw_room(self, rng: np.random.Generator) -> tuple[np.ndarray, float | None]:
        if self._rooms and rng.random() >= self.config.simulated_room_share:
            return self._rooms[rng.integers(len(self._rooms))], None
        rt60_s = rng.uniform(*self.config.room_decay_s)
        return simulate_room(rt60_s, rng), rt60_s


def _happens(rng: np.random.Generator, probability: float) -> bool:
    """Draw whether something is applied; disabled augmentation does not advance the generator."""
    return probability > 0 and bool(rng.random() < probability)


def _draw_combination(
    combination: tuple[float, float, float, float] | None, rng: np.random.Generator
) -> tuple[bool | None, bool | None]:
    """Draw (room, additive noise) jointly; None for those drawn independently."""
    if combination is None:
        return None, None
    case = int(np.searchsorted(np.cumsum(combination), rng.random(), side="right"))
    return case in (1, 3), case in (2, 3)


def _load_rooms(directory: Path) -> list[np.ndarray]:
    rooms = [room for entry in read_data_dir(directory) if np.any(room := entry.read())]
    if not rooms:
        raise InputError("all room impulse responses are silent", path=directory)
    return [trim_room(room) for room in rooms]
