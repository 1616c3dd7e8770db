"""Augmentation: ratios measured on the result, one effect at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from sdpn.data.augment import AugmentationConfig, Augmenter
from sdpn.data.rooms import simulate_room
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, write_data_dir

_NOTHING = {
    "noise_probability": 0.0,
    "babble_probability": 0.0,
    "room_probability": 0.0,
    "tilt_probability": 0.0,
    "gain_db": (0.0, 0.0),
}


def _wave(seed: int = 0, num_samples: int = 16000) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(num_samples) * 0.05).astype(np.float32)


def _speech(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.standard_normal(num_samples) * 0.3).astype(np.float32)


def _folder(path: Path, wave: np.ndarray) -> Path:
    path.mkdir()
    soundfile.write(path / "a.wav", wave, 16000, subtype="FLOAT")
    write_data_dir(path, [Utterance("a", path / "a.wav")])
    return path


def _augmenter(**changes: object) -> Augmenter:
    return Augmenter(AugmentationConfig(**{**_NOTHING, **changes}))  # type: ignore[arg-type]


def test_nothing_on_means_nothing_changes() -> None:
    np.testing.assert_array_equal(_augmenter()(_wave(), np.random.default_rng(0), _speech), _wave())


def test_noise_is_added_at_the_ratio_asked_for(tmp_path: Path) -> None:
    noise = _folder(
        tmp_path / "noise", np.sin(np.arange(4000) / 5).astype(np.float32)
    )  # shorter than the crop
    augment = _augmenter(noise=noise, noise_probability=1.0, noise_snr_db=(7.0, 7.0))
    added = augment(_wave(), np.random.default_rng(0), _speech) - _wave()
    ratio_db = 10 * np.log10(np.mean(_wave() ** 2) / np.mean(added**2))
    assert ratio_db == pytest.approx(7.0, abs=0.05)


def test_babble_is_added_at_the_ratio_asked_for() -> None:
    augment = _augmenter(babble_probability=1.0, babble_snr_db=(13.0, 13.0))
    added = augment(_wave(), np.random.default_rng(0), _speech) - _wave()
    assert 10 * np.log10(np.mean(_wave() ** 2) / np.mean(added**2)) == pytest.approx(13.0, abs=0.05)


def test_a_measured_room_is_a_convolution_from_its_direct_sound(tmp_path: Path) -> None:
    room = np.zeros(3000, dtype=np.float32)
    room[[1000, 1500, 2200]] = 0.9, 0.4, -0.2  # one millisecond before the peak is kept
    augment = _augmenter(rir=_folder(tmp_path / "rir", room), room_probability=1.0, simulated_room_share=0.0)
    result = augment(_wave(), np.random.default_rng(0), _speech)
    expected = fftconvolve(_wave(), room[984:])[:16000]
    expected *= np.sqrt(np.mean(_wave() ** 2) / np.mean(expected**2))
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_simulated_rooms_decay_by_60_db_in_rt60() -> None:
    rng = np.random.default_rng(0)
    energy = np.mean([simulate_room(0.4, rng)[1:] ** 2 for _ in range(300)], axis=0)
    early, late = energy[: 16 * 20].mean(), energy[16 * 200 : 16 * 220].mean()  # 200 ms apart: 30 dB
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=1.0)


def test_tilt_stays_within_its_limit_and_keeps_the_power() -> None:
    wave = _wave(num_samples=160000)
    result = _augmenter(tilt_probability=1.0, tilt_db=6.0)(wave, np.random.default_rng(1), _speech)
    bands_before, bands_after = (
        np.array([part.mean() for part in np.array_split(np.abs(np.fft.rfft(w)) ** 2, 40)])
        for w in (wave, result)
    )
    change_db = 10 * np.log10(bands_after / bands_before)
    assert np.ptp(change_db) > 1 and np.abs(change_db).max() < 2 * 6.0 + 0.5
    assert np.mean(result**2) == pytest.approx(np.mean(wave**2), rel=0.01)


def test_the_generator_decides_everything() -> None:
    augment = Augmenter(AugmentationConfig())
    first, again = (augment(_wave(), np.random.default_rng(5), _speech) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, augment(_wave(), np.random.default_rng(6), _speech))
    assert first.dtype == np.float32 and first.shape == (16000,)


def test_silent_or_missing_noise_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="silent"):
        _augmenter(noise=_folder(tmp_path / "n", np.zeros(100, dtype=np.float32)))
    with pytest.raises(InputError, match=r"no wav\.scp"):
        _augmenter(rir=tmp_path)


@pytest.mark.parametrize(
    "changes", [{"noise_probability": 1.5}, {"noise_snr_db": (5.0, 0.0)}, {"babble_talkers": 0}]
)
def test_settings_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        AugmentationConfig(**changes)  # type: ignore[arg-type]
