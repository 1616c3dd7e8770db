"""Augmentation on the training device: what the loader would make, and by measurement what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import welch

from sdpn.augmentation.additive_noise import AdditiveNoise
from sdpn.augmentation.augment import PRESETS, Augmenter, Drawn
from sdpn.augmentation.bands import BANDS, BandName
from sdpn.augmentation.on_device import apply_effects, as_tensors
from sdpn.augmentation.rooms import simulate_room
from sdpn.data.crops import CropConfig, DrawnCropBatch
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.io.kaldi import read_data_dir
from tests.conftest import write_noise

NOTHING = Drawn(None, None, None, (), None, 0.0, False)


def _speech(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    return (0.1 * rng.standard_normal(num_samples)).astype(np.float32)


def _device(clean: list[np.ndarray], drawn: list[Drawn]) -> np.ndarray:
    made: np.ndarray = apply_effects(torch.from_numpy(np.stack(clean)), as_tensors(drawn)).numpy()
    return made


@pytest.mark.parametrize("preset", ["default", "none", "published", "everything"])
def test_it_is_what_the_loader_makes(preset: str, tmp_path: Path) -> None:
    noise = write_noise(tmp_path / "noise", 3)
    if preset == "everything":
        config = replace(
            PRESETS["default"],
            **{
                f"{kind}_probability": 0.6
                for kind in ("noise", "music", "babble", "room", "tilt", "band", "clip")
            },
            rounding_probability=0.3,
            rir=noise,
        )
    else:
        config = PRESETS[preset]
    augmenter = Augmenter(replace(config, noise=noise, music=noise))
    rng = np.random.default_rng(0)
    clean = [_speech(12000, rng) for _ in range(40)]
    drawn = [augmenter.draw(12000, rng, _speech) for _ in clean]
    expected = augmenter.apply(clean, drawn)
    # two steps of µ-law or of 16 bits where a value lies between two of them, else rounding
    close = np.isclose(_device(clean, drawn), expected, rtol=0, atol=2e-5)
    telephone = np.array([effects.band == "telephone" for effects in drawn])
    rounded = np.array([effects.rounded for effects in drawn])
    assert close[~telephone & ~rounded].all()
    for rows, share in ((rounded & ~telephone, 0.98), (telephone, 0.9)):
        assert not rows.any() or close[rows].mean() > share
    assert preset == "none" or not np.allclose(expected, clean, atol=1e-3)
    if preset == "everything":
        assert telephone.any() and rounded.any() and any(one.clip_share is not None for one in drawn)


def test_a_batch_without_any_effect_is_itself() -> None:
    clean = [_speech(500, np.random.default_rng(seed)) for seed in range(3)]
    np.testing.assert_array_equal(_device(clean, [NOTHING] * 3), np.stack(clean))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 13.0])
def test_measured_snr(snr_db: float) -> None:
    rng = np.random.default_rng(1)
    clean = [_speech(16000, rng) for _ in range(3)]
    added = AdditiveNoise("noise", 3 * _speech(16000, rng), snr_db)
    silent = AdditiveNoise("noise", np.zeros(16000, dtype=np.float32), snr_db)
    made = _device(clean, [NOTHING._replace(additive_noises=noises) for noises in ((added,), (), (silent,))])
    residual = made[0] - clean[0]
    found_db = 10 * np.log10(np.mean(clean[0] ** 2) / np.mean(residual**2))
    assert found_db == pytest.approx(snr_db, abs=0.01)
    np.testing.assert_array_equal(made[1:], np.stack(clean[1:]))


@pytest.mark.parametrize("rt60_s", [0.15, 0.3, 0.45])
def test_measured_reverberation_time(rt60_s: float) -> None:
    """Backward integration (Schroeder, 1965) of what an impulse becomes; slope from −15 to −35 dB."""
    decays = []
    for seed in range(8):
        impulse = np.zeros(16000, dtype=np.float32)
        impulse[0] = 0.5
        room = simulate_room(rt60_s, np.random.default_rng(seed))
        (made,) = _device([impulse], [NOTHING._replace(room=room, rt60_s=rt60_s)])
        energy = np.cumsum(made[1:][::-1].astype(np.float64) ** 2)[::-1]
        level_db = 10 * np.log10(energy / energy[0] + 1e-12)
        times = np.flatnonzero((level_db < -15) & (level_db > -35)) / 16000
        slope = np.polyfit(times, level_db[1:][(times * 16000).astype(int) - 1], 1)[0]
        decays.append(-60 / slope)
    assert np.median(decays) == pytest.approx(rt60_s, rel=0.1)


@pytest.mark.parametrize("name", list(BANDS))
def test_measured_band_edges(name: BandName) -> None:
    """The edges are at half of the amplitude: −6 dB in the spectrum of white noise."""
    noise = _speech(160_000, np.random.default_rng(2))
    (made,) = _device([noise], [NOTHING._replace(band=name)])
    frequency_hz, before = welch(noise, 16000, nperseg=2048)
    _, after = welch(made, 16000, nperseg=2048)
    gain_db = 10 * np.log10(after / before + 1e-12)
    passed = frequency_hz[gain_db > -6.02]
    band = BANDS[name]
    assert passed.min() == pytest.approx(band.low_hz, abs=12) and passed.max() == pytest.approx(
        band.high_hz, abs=60
    )
    assert gain_db[frequency_hz > 1.15 * band.high_hz].max(initial=-100) < -25  # 7 kHz: nothing is above


def test_a_batch_of_the_loader(voices: Path) -> None:
    """Drawn there and applied here: the batch of a loader that applies, to rounding; resumed to the bit."""
    config = PRESETS["default"]
    batches = []
    for apply in (True, False, False):
        dataset = CropDataset(
            read_data_dir(voices),
            CropConfig(global_s=0.5, local_s=0.3, num_local=3),
            Augmenter(config),
            seed=1,
            cache_mb=1,
            apply=apply,
        )
        start = 0 if len(batches) < 2 else 2
        loaded = load_batches(dataset, batch_size=5, seed=1, start_step=start, end_step=3, workers=0)
        *_, last = loaded
        assert isinstance(last, DrawnCropBatch) is not apply
        batches.append(last.to(torch.device("cpu")))
    loader, device, resumed = batches
    assert torch.equal(loader.global_GBS, device.global_GBS)
    assert torch.equal(loader.utterance_B, device.utterance_B)
    torch.testing.assert_close(device.local_VBS, loader.local_VBS, rtol=0, atol=2e-5)
    assert torch.equal(resumed.local_VBS, device.local_VBS)


def test_codecs_are_refused() -> None:
    with pytest.raises(ValueError, match="codecs"):
        as_tensors([NOTHING._replace(coding=("opus", 8))])  # type: ignore[arg-type]
