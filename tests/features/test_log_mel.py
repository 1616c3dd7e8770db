"""Log-mel features: against a plain numpy computation, and their invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from sdpn.features.frontend import Normalisation
from sdpn.features.log_mel import FeatureConfig, LogMel


def _hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)


def _reference(wave: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Frame by frame in float64, with triangles over HTK mels (F, T)."""
    window, hop = config.window_samples, config.hop_samples
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = [wave[s : s + window] * hann for s in range(0, len(wave) - window + 1, hop)]
    power = np.abs(np.fft.rfft(frames, config.fft_size)) ** 2
    edges = np.linspace(_hz_to_mel(config.low_hz), _hz_to_mel(config.high_hz), config.num_mels + 2)
    edges_hz = 700.0 * (10 ** (edges / 2595.0) - 1.0)
    bins_hz = np.linspace(0, 8000, config.fft_size // 2 + 1)
    up = (bins_hz[:, None] - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    down = (edges_hz[2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    return np.log(power @ np.maximum(0, np.minimum(up, down)) + config.floor).T


def test_equals_a_plain_computation() -> None:
    config = FeatureConfig(normalisation="none")
    wave = np.random.default_rng(0).standard_normal(8000) * 0.1
    features = LogMel(config)(torch.tensor(wave, dtype=torch.float32)[None])
    np.testing.assert_allclose(features[0].numpy(), _reference(wave, config), atol=2e-3)


def test_normalisations_over_time() -> None:
    wave = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    mean = LogMel(FeatureConfig(normalisation="mean"))(wave)
    torch.testing.assert_close(mean.mean(-1), torch.zeros(3, 80), atol=1e-4, rtol=0)
    both = LogMel(FeatureConfig(normalisation="mean-variance"))(wave)
    torch.testing.assert_close(both.std(-1, unbiased=False), torch.ones(3, 80), atol=1e-3, rtol=0)


def test_level_does_not_matter_after_mean_subtraction() -> None:
    wave = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    features = LogMel(FeatureConfig())
    torch.testing.assert_close(features(wave), features(wave * 0.5), atol=5e-3, rtol=0)


RELATIVE = FeatureConfig(level="relative", floor=1e-4)


@pytest.mark.parametrize("normalisation", ["mean", "mean-variance", "none"])
def test_features_with_a_relative_floor_do_not_depend_on_the_gain(normalisation: Normalisation) -> None:
    wave = _voiced()
    features = LogMel(replace(RELATIVE, normalisation=normalisation))
    for gain_db in (-80, -30, 20):
        torch.testing.assert_close(
            features(wave * 10 ** (gain_db / 20)), features(wave), atol=2e-3, rtol=0, msg=str(gain_db)
        )


def test_a_relative_floor_is_that_share_of_the_mean_power() -> None:
    """Against the definition: log(power / mean power + floor), then the mean over time is subtracted."""
    wave = _voiced()
    power = np.exp(_reference(wave[0].numpy().astype(np.float64), FeatureConfig(floor=1e-30))).T
    expected = np.log(power / power.mean() + 1e-4)
    ours = LogMel(RELATIVE)(wave)[0].T.numpy()
    np.testing.assert_allclose(ours, expected - expected.mean(0), atol=2e-3)


@pytest.mark.parametrize(("gain_db", "most"), [(0, 0.001), (-20, 0.01), (-40, 0.1)])
def test_a_relative_floor_covers_rounding_to_16_bits(gain_db: float, most: float) -> None:
    wave = _voiced()
    wave = wave * 10 ** (-25 / 20) / wave.square().mean().sqrt()  # as loud as speech usually is
    rounded = torch.round(wave * 10 ** (gain_db / 20) * 32768) / 32768
    features = LogMel(RELATIVE)
    error = (features(rounded) - features(wave)).square().mean().sqrt()
    assert error < most * features(wave).square().mean().sqrt()


def test_silence_has_features_too() -> None:
    silence, wave = torch.zeros(1, 8000), _voiced()
    half_silent = torch.cat([wave, torch.zeros_like(wave)], dim=1)
    features = LogMel(RELATIVE)
    assert not features(silence).any()
    assert features(half_silent).isfinite().all()


def _voiced() -> torch.Tensor:
    """(1, 16000): pulses through a falling spectrum, with pauses: 60 dB between its loud and faint bins."""
    rng = np.random.default_rng(3)
    wave = lfilter([1.0], [1.0, -0.97], rng.standard_normal(16000)) * (1 + np.sin(np.arange(16000) / 900))
    return torch.from_numpy(wave * 0.02).float()[None]


@pytest.mark.parametrize(("num_samples", "num_frames"), [(1, 1), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_number_of_frames(num_samples: int, num_frames: int) -> None:
    features = LogMel(FeatureConfig())
    assert features.num_frames(num_samples) == num_frames
    assert features(torch.zeros(1, num_samples)).shape == (1, 80, num_frames)


def test_float32_under_autocast_and_nothing_in_the_state() -> None:
    features = LogMel(FeatureConfig())
    with torch.autocast("cpu", torch.bfloat16):
        assert features(torch.randn(1, 800)).dtype == torch.float32
    assert not features.state_dict()


@pytest.mark.parametrize(
    "changes", [{"high_hz": 9000.0}, {"low_hz": 8000.0}, {"window_ms": 40.0}, {"floor": 0.0}]
)
def test_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        FeatureConfig(**changes)  # type: ignore[arg-type]
