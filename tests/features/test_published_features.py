"""Features of published models: against torchaudio, kaldi-native-fbank and plain computations; padding."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import pytest
import torch

from sdpn.features.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from sdpn.features.log_mel import FeatureConfig
from sdpn.features.redimnet_mel import ReDimNetMelConfig
from sdpn.features.registry import AnyFeatureConfig, build_features
from sdpn.features.speechbrain_fbank import SpeechBrainFbank, SpeechBrainFbankConfig
from sdpn.torchaudio_import import torchaudio

SDPN = FeatureConfig(low_hz=0.0, high_hz=8000.0, normalisation="mean-variance", centred=True)
KALDI = [
    KaldiFbankConfig(normalisation="none"),
    KaldiFbankConfig(normalisation="none", window="hamming", scale=32768.0),
    KaldiFbankConfig(normalisation="none", num_mels=40, low_hz=60.0, high_hz=7000.0, window_ms=32.0),
]


def _waves() -> list[np.ndarray]:
    """Loud and quiet, tones and noise, with digital silence and an offset.

    With an offset two hundred times the signal, kaldi-native-fbank itself is 2e-3 away from float64.
    """
    rng = np.random.default_rng(0)
    time = np.arange(24000) / 16000
    speech_like = 0.3 * np.sin(2 * np.pi * 150 * time) * (1 + np.sin(2 * np.pi * 4 * time))
    return [
        (speech_like + 0.01 * rng.standard_normal(24000)).astype(np.float32),
        (1e-3 * rng.standard_normal(9000) + 0.02).astype(np.float32),
        np.concatenate([np.zeros(4000), 0.1 * rng.standard_normal(4000)]).astype(np.float32),
    ]


@pytest.mark.parametrize("config", KALDI)
def test_kaldi_fbank_equals_torchaudio(config: KaldiFbankConfig) -> None:
    for wave in _waves():
        expected = torchaudio.compliance.kaldi.fbank(
            torch.from_numpy(wave)[None] * config.scale,
            num_mel_bins=config.num_mels,
            frame_length=config.window_ms,
            low_freq=config.low_hz,
            high_freq=config.high_hz,
            window_type="povey" if config.window == "povey" else "hamming",
            sample_frequency=16000,
            dither=0.0,
        )
        ours = KaldiFbank(config)(torch.from_numpy(wave)[None])[0].T
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("config", KALDI)
def test_kaldi_fbank_equals_kaldi_native_fbank(config: KaldiFbankConfig) -> None:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = config.window
    options.frame_opts.frame_length_ms = config.window_ms
    options.mel_opts.num_bins = config.num_mels
    options.mel_opts.low_freq = config.low_hz
    options.mel_opts.high_freq = config.high_hz
    for wave in _waves():
        online = kaldi_native_fbank.OnlineFbank(options)
        online.accept_waveform(16000, (wave * np.float32(config.scale)).tolist())
        online.input_finished()
        expected = np.stack([online.get_frame(index) for index in range(online.num_frames_ready)])
        ours = KaldiFbank(config)(torch.from_numpy(wave)[None])[0].T
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-3, rtol=0)


def test_sdpn_features_equal_torchaudios_mel_spectrogram() -> None:
    mel = torchaudio.transforms.MelSpectrogram(16000, n_fft=512, win_length=400, hop_length=160, n_mels=80)
    wave = torch.from_numpy(_waves()[0])[None]
    expected = torch.nn.functional.instance_norm((mel(wave) + 1e-6).log())
    torch.testing.assert_close(build_features(SDPN)(wave), expected, atol=1e-3, rtol=0)


def test_speechbrain_features_equal_a_plain_computation() -> None:
    """In float64: zeros beyond the ends, symmetric triangles, decibels, at most 80 below the peak."""
    wave = _waves()[2].astype(np.float64)
    padded = np.concatenate([np.zeros(200), wave, np.zeros(200)])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [padded[i * 160 : i * 160 + 400] * window for i in range(1 + len(wave) // 160)]
    power = np.abs(np.fft.rfft(frames)) ** 2
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82) / 2595) - 1)
    bins = np.linspace(0, 8000, 201)
    filters = [
        np.maximum(0, 1 - np.abs(bins - centres[i]) / (centres[i] - centres[i - 1])) for i in range(1, 81)
    ]
    decibels = 10 * np.log10(np.maximum(power @ np.array(filters).T, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    ours = SpeechBrainFbank(SpeechBrainFbankConfig())(torch.from_numpy(wave)[None].float())[0].T
    np.testing.assert_allclose(ours.numpy(), decibels - decibels.mean(0), atol=2e-3)


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(),
        FeatureConfig(level="relative", floor=1e-4, normalisation="none"),
        SDPN,
        KaldiFbankConfig(normalisation="mean-variance"),
        SpeechBrainFbankConfig(),
        ReDimNetMelConfig(),
    ],
    ids=lambda config: f"{config.kind}-{config.normalisation}",
)
def test_padding_changes_nothing(config: AnyFeatureConfig) -> None:
    front_end = build_features(config)
    waves = [torch.from_numpy(wave) for wave in _waves()]
    lengths = torch.tensor([len(wave) for wave in waves])
    batch = torch.randn(len(waves), int(lengths.max()))  # what stands beyond an end must not matter
    for row, wave in enumerate(waves):
        batch[row, : len(wave)] = wave
    together = front_end(batch, lengths)
    for row, wave in enumerate(waves):
        alone = front_end(wave[None])[0]
        assert alone.shape[-1] == front_end.num_frames(len(wave)) == front_end.frame_lengths(lengths)[row]
        torch.testing.assert_close(together[row, :, : alone.shape[-1]], alone, atol=3e-4, rtol=0)
        assert not together[row, :, alone.shape[-1] :].any()


@pytest.mark.parametrize("num_samples", [1, 2, 399, 400])
@pytest.mark.parametrize("config", [SDPN, KaldiFbankConfig(), SpeechBrainFbankConfig()], ids=lambda c: c.kind)
def test_very_short_waveforms(config: AnyFeatureConfig, num_samples: int) -> None:
    front_end = build_features(config)
    features = front_end(torch.randn(1, num_samples))
    assert features.shape == (1, 80, front_end.num_frames(num_samples)) and features.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (KaldiFbankConfig, {"preemphasis": 2.0}),
        (KaldiFbankConfig, {"scale": 0.0}),
        (KaldiFbankConfig, {"high_hz": 9000.0}),
        (SpeechBrainFbankConfig, {"top_db": 0.0}),
        (SpeechBrainFbankConfig, {"window_ms": 30.0}),
    ],
)
def test_settings_out_of_range(kind: type, changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        kind(**changes)
