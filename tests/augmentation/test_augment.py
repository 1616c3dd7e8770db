"""Augmentation: ratios measured on the result, one effect at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from sdpn.augmentation.augment import PRESETS, AugmentationConfig, Augmenter
from sdpn.augmentation.rooms import simulate_room
from sdpn.config import load_config
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
    "changes",
    [
        {"noise_probability": 1.5},
        {"noise_snr_db": (5.0, 0.0)},
        {"babble_talkers": 0},
        {"combination": (0.5, 0.5, 0.5, 0.5)},
        {"bands": (), "band_probability": 0.1},
        {"speed_factors": (), "speed_probability": 0.1},
        {"speed_factors": (11.0,)},
        {"erase_frames": -1},
    ],
)
def test_settings_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        AugmentationConfig(**changes)  # type: ignore[arg-type]


def test_music_is_added_at_the_ratio_asked_for(tmp_path: Path) -> None:
    music = _folder(tmp_path / "music", np.sin(np.arange(40000) / 9).astype(np.float32))
    augment = _augmenter(music=music, music_probability=1.0, music_snr_db=(11.0, 11.0))
    added = augment(_wave(), np.random.default_rng(0), _speech) - _wave()
    assert 10 * np.log10(np.mean(_wave() ** 2) / np.mean(added**2)) == pytest.approx(11.0, abs=0.05)


def test_views_together_are_views_one_by_one(tmp_path: Path) -> None:
    noise = _folder(tmp_path / "noise", _wave(3, 40000))
    augment = Augmenter(AugmentationConfig(noise=noise, band_probability=0.5))
    waves = [_wave(seed) for seed in range(7)]
    drawn = [augment.draw(16000, np.random.default_rng(seed), _speech) for seed in range(7)]
    assert {view.room is None for view in drawn} == {view.tilt_db is None for view in drawn} == {True, False}
    alone = [augment.apply([wave], [effects])[0] for wave, effects in zip(waves, drawn, strict=True)]
    np.testing.assert_allclose(augment.apply(waves, drawn), alone, atol=1e-6)
    for wave, seed in zip(waves, range(7), strict=True):
        np.testing.assert_array_equal(wave, _wave(seed))  # what was handed in stays as it was


def test_what_is_off_does_not_move_what_is_on(tmp_path: Path) -> None:
    """A probability of 0 draws nothing: runs of before a kind of augmentation existed stay what they were."""
    plain, more = Augmenter(AugmentationConfig()), Augmenter(AugmentationConfig(music=_music(tmp_path)))
    assert plain.config.band_probability == plain.config.speed_probability == 0
    first, second = (a.draw(8000, np.random.default_rng(4), _speech) for a in (plain, more))
    assert (first.rt60_s, first.tilt_db is None) == (second.rt60_s, second.tilt_db is None)


def _music(tmp_path: Path) -> Path:
    return _folder(tmp_path / "music", _wave(5))


def test_the_published_preset_draws_with_the_published_probabilities(tmp_path: Path) -> None:
    """Nothing 1/6; a room (1/4) or additive noise (3/4) 3/6; both 2/6; kinds equally often; SNR by kind."""
    noise, music, rir = (_folder(tmp_path / name, _wave(1, 9000)) for name in ("noise", "music", "rir"))
    augment = Augmenter(replace(PRESETS["published"], noise=noise, music=music, rir=rir))
    views = [augment.draw(800, np.random.default_rng((7, seed)), _speech) for seed in range(12000)]
    cases = Counter((view.room is not None, len(view.additive_noises)) for view in views)
    expected = {(False, 0): 1 / 6, (True, 0): 1 / 8, (False, 1): 3 / 8, (True, 1): 1 / 3}
    assert cases.keys() == expected.keys()
    for case, probability in expected.items():
        assert cases[case] / len(views) == pytest.approx(probability, abs=0.015)  # 3 standard deviations
    added = [additive_noise for view in views for additive_noise in view.additive_noises]
    for kind, low, high in (("noise", 0, 15), ("babble", 13, 20), ("music", 5, 15)):
        ratios = np.array([additive_noise.snr_db for additive_noise in added if additive_noise.kind == kind])
        assert len(ratios) / len(added) == pytest.approx(1 / 3, abs=0.02)
        assert low <= ratios.min() < low + 0.2 and high - 0.2 < ratios.max() <= high
    assert all(
        view.tilt_db is None and view.band is None and view.gain_db == 0 and view.rt60_s is None
        for view in views
    )


def test_presets_are_chosen_and_changed_in_a_configuration() -> None:
    from sdpn.training.config import RunConfig

    def augmentation(*overrides: str) -> AugmentationConfig:
        return load_config(RunConfig, None, overrides).augmentation

    assert augmentation() == augmentation("augmentation.preset=default") == AugmentationConfig()
    published = augmentation("augmentation.tilt_probability=0.5", "augmentation.preset=published")
    assert published == replace(PRESETS["published"], tilt_probability=0.5)
    with pytest.raises(InputError, match="did you mean 'published'"):
        augmentation("augmentation.preset=publish")


def test_a_noise_folder_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").touch()
    with pytest.raises(InputError, match="contains no utterances"):
        _augmenter(noise=tmp_path)


def test_noise_of_another_rate_is_converted(tmp_path: Path) -> None:
    times_s = np.arange(44100) / 44100
    folder = tmp_path / "noise"
    folder.mkdir()
    soundfile.write(folder / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * times_s), 44100)
    write_data_dir(folder, [Utterance("a", folder / "a.wav")])
    augment = _augmenter(noise=folder, noise_probability=1.0)
    added = augment(_wave(), np.random.default_rng(0), _speech) - _wave()
    assert int(np.abs(np.fft.rfft(added)).argmax()) == 1000


def test_rounding_after_the_gain_is_that_of_a_file_of_16_bits() -> None:
    faint = replace(PRESETS["none"], gain_db=(-60.0, -60.0), rounding_probability=1.0)
    rounded = Augmenter(faint)(_wave(), np.random.default_rng(0), _speech)
    exact = Augmenter(replace(faint, rounding_probability=0.0))(_wave(), np.random.default_rng(0), _speech)
    steps = rounded * 32767
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert 0 < np.abs(rounded - exact).max() <= 0.5001 / 32767


def test_the_speeds_at_which_an_utterance_is_of_another_speaker() -> None:
    def speeds(**settings: object) -> list[float]:
        return [float(one) for one in AugmentationConfig(**settings).speaker_speeds]  # type: ignore[arg-type]

    assert speeds() == [1.0]
    assert speeds(speed_probability=0.5) == [1.0, 0.9, 1.1]
    assert speeds(speed_probability=0.5, speed_factors=(1.1, 1.0, 1.2)) == [1.0, 1.1, 1.2]
    assert speeds(speed_probability=0.5, speed_speaker="same") == [1.0]
