"""Codecs: in time with the input, with the band and the loss of each; clipping at the share of the peak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sdpn.augmentation.augment import PRESETS, AugmentationConfig, Augmenter
from sdpn.augmentation.codecs import (
    CODECS,
    Codec,
    CodecName,
    Coding,
    check_codecs,
    clip_peaks,
    draw_coding,
    through_codec,
)
from sdpn.data.crops import CropBatch, CropConfig
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.io.resampling import resample
from tests.conftest import write_noise
from tests.io.encoding import speechlike

EVERY = [(name, rate) for name, codec in CODECS.items() for rate in codec.kbit_per_s]


def _speech(shared_data: Path) -> np.ndarray:
    path = sorted((shared_data / "librispeech_excerpt/train").rglob("*.opus"))[0]
    return Utterance("u", path).read()[32000:56000]


def _lag(before: np.ndarray, after: np.ndarray) -> int:
    """By how many samples ``after`` is late: the peak of the cross-correlation."""
    size = 2 * len(before)
    product = np.fft.rfft(after, size) * np.conj(np.fft.rfft(before, size))
    lag = int(np.argmax(np.fft.irfft(product, size)))
    return lag if lag < len(before) else lag - size


@pytest.mark.parametrize(("name", "rate"), EVERY)
def test_in_time_with_the_input_and_at_its_level(shared_data: Path, name: CodecName, rate: float) -> None:
    wave = _speech(shared_data)
    coded = through_codec(wave, Coding(name, rate))
    assert coded.shape == wave.shape and coded.dtype == np.float32
    assert abs(_lag(wave, coded)) <= 2  # an eighth of a millisecond: what the phase of a low rate moves
    ratio_db = 10 * np.log10(np.mean(coded**2) / np.mean(wave**2))
    assert abs(ratio_db) < 2.5  # AMR and Opus leave out what lies below 80 Hz
    lag = _lag(wave, coded)
    assert np.corrcoef(wave[8:-8], np.roll(coded, -lag)[8:-8])[0, 1] > 0.6
    assert not np.array_equal(wave, coded)


@pytest.mark.parametrize("name", CODECS)
def test_the_last_samples_are_there(name: CodecName) -> None:
    """The delay is taken from the front, and what it pushes behind the end is not lost."""
    for size in (24000, 23999, 16001):
        wave = speechlike(16000, size / 16000)[0][:size]
        coded = through_codec(wave, Coding(name, CODECS[name].kbit_per_s[-1]))
        end = slice(-800, None)
        assert np.corrcoef(wave[end], coded[end])[0, 1] > 0.8


def test_less_is_left_at_lower_rates_and_nothing_above_the_band(shared_data: Path) -> None:
    wave = _speech(shared_data)

    def loss(name: CodecName, rate: float) -> float:
        coded = through_codec(wave, Coding(name, rate))
        return float(np.mean((coded - wave) ** 2) / np.mean(wave**2))

    for name in ("opus", "mp3", "amr"):
        rates = CODECS[name].kbit_per_s  # type: ignore[index]
        assert loss(name, rates[0]) > 1.1 * loss(name, rates[-1])  # type: ignore[arg-type]
    for name in ("amr", "mulaw", "alaw"):
        coded = through_codec(wave, Coding(name, CODECS[name].kbit_per_s[-1]))  # type: ignore[index,arg-type]
        power = np.abs(np.fft.rfft(coded)) ** 2
        assert power[len(power) * 45 // 80 :].sum() < 1e-3 * power.sum()  # above 4.5 kHz
    # 8 bits of A-law or mu-law: about 38 dB for speech of any usual level (G.711), of what is left at 8 kHz
    narrow = resample(resample(wave, 16000, 8000), 8000, 16000)
    for name in ("mulaw", "alaw"):
        noise = through_codec(wave, Coding(name, 64)) - narrow
        assert 33 < 10 * np.log10(np.mean(narrow**2) / np.mean(noise**2)) < 41


@pytest.mark.parametrize("name", CODECS)
def test_silence_short_and_loud_crops(name: CodecName) -> None:
    rate = CODECS[name].kbit_per_s[0]
    for wave in (
        np.zeros(24000, np.float32),
        np.full(100, 0.1, np.float32),
        np.ones(1, np.float32),
        40 * speechlike(16000, 0.5)[0],
    ):
        coded = through_codec(wave, Coding(name, rate))
        assert coded.shape == wave.shape and np.isfinite(coded).all()
        assert np.abs(coded).max() <= 1.6 * np.abs(wave).max() + 1e-3


def test_codings_are_drawn_equally_often() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_coding(("opus", "alaw"), rng) for _ in range(1400)]
    counts = [sum(one == Coding("opus", rate) for one in drawn) for rate in CODECS["opus"].kbit_per_s]
    assert sum(counts) == pytest.approx(700, abs=80) and min(counts) > 60


def test_a_build_without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    check_codecs(tuple(CODECS))
    monkeypatch.setitem(CODECS, "amr", Codec("no_such_encoder", "amrnb", 8000, "s16", (12.2,)))
    with pytest.raises(InputError, match="cannot encode amr") as caught:
        Augmenter(AugmentationConfig(codec_probability=0.1))
    assert "augmentation.codecs" in str(caught.value.hint)
    Augmenter(AugmentationConfig(codec_probability=0.1, codecs=("opus",)))


def test_clipping_at_a_share_of_the_peak() -> None:
    wave = np.array([0.0, 0.1, -0.4, 0.2, -0.1], np.float32)
    np.testing.assert_allclose(clip_peaks(wave, 0.25), [0.0, 0.1, -0.1, 0.1, -0.1], rtol=1e-6)
    np.testing.assert_array_equal(clip_peaks(wave, 1.0), wave)
    assert not clip_peaks(np.zeros(5, np.float32), 0.5).any()


def _draw(config: AugmentationConfig, count: int) -> list[np.ndarray]:
    augmenter = Augmenter(config)
    wave = speechlike(16000, 0.5)[0]
    return [augmenter(wave, np.random.default_rng(seed), lambda n, _rng: wave[:n]) for seed in range(count)]


def test_a_view_is_its_seed_and_what_is_off_moves_nothing() -> None:
    """Codecs and clipping are drawn last: with them, everything else of a view stays as it was."""
    both = AugmentationConfig(codec_probability=0.5, clip_probability=0.5)
    for one, other in zip(_draw(both, 12), _draw(both, 12), strict=True):
        np.testing.assert_array_equal(one, other)
    before, after = Augmenter(AugmentationConfig()), Augmenter(both)
    wave = speechlike(16000, 0.5)[0]
    codings = clips = 0
    for seed in range(60):
        old = before.draw(8000, np.random.default_rng(seed), lambda n, _rng: wave[:n])
        new = after.draw(8000, np.random.default_rng(seed), lambda n, _rng: wave[:n])
        assert old.gain_db == new.gain_db and old.band == new.band and old.rounded == new.rounded
        assert old.coding is None and old.clip_share is None
        codings += new.coding is not None
        clips += new.clip_share is not None
        assert new.clip_share is None or 0.2 <= new.clip_share <= 0.8
    assert 18 < codings < 42 and 18 < clips < 42


def test_a_clipped_view_has_its_samples_at_the_limit() -> None:
    (view,) = _draw(replace(PRESETS["none"], clip_probability=1.0, clip_share=(0.3, 0.3)), 1)
    wave = speechlike(16000, 0.5)[0]
    limit = 0.3 * np.abs(wave).max()
    np.testing.assert_allclose(view, np.clip(wave, -limit, limit), rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"codec_probability": 1.1},
        {"clip_probability": -0.1},
        {"codec_probability": 0.1, "codecs": ()},
        {"clip_share": (0.0, 0.5)},
        {"clip_share": (0.5, 1.5)},
        {"clip_share": (0.9, 0.5)},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"codec|clip"):
        AugmentationConfig(**wrong)  # type: ignore[arg-type]


def test_batches_with_codecs_are_the_same_for_any_number_of_loaders_and_from_any_step(tmp_path: Path) -> None:
    utterances = read_data_dir(write_noise(tmp_path / "data", 6))
    config = AugmentationConfig(codec_probability=0.6, clip_probability=0.4)
    crops = CropConfig(global_s=0.5, num_local=2, local_s=0.25)

    def batches(start: int, workers: int) -> list[CropBatch]:
        dataset = CropDataset(utterances, crops, Augmenter(config), seed=1, cache_mb=10)
        return list(
            load_batches(dataset, batch_size=3, seed=1, start_step=start, end_step=4, workers=workers)
        )

    whole = batches(0, 0)
    for other, first in ((batches(0, 2), 0), (batches(2, 1), 2)):
        for one, again in zip(whole[first:], other, strict=True):
            assert torch.equal(one.local_VBS, again.local_VBS)
            assert torch.equal(one.global_GBS, again.global_GBS)
