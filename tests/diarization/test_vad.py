"""VAD against the stock loop of silero-vad on real meetings, and on what is not speech."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sdpn.diarization import vad
from sdpn.diarization.vad import VadConfig, detect_speech, speech_probabilities
from sdpn.io import audio


@pytest.fixture(scope="module")
def meeting(shared_data: Path) -> np.ndarray:
    """75 s of meetings: more than one block of frames, and no whole number of them."""
    clips = sorted((shared_data / "ami_excerpt").glob("*.flac"))[:3]
    return np.concatenate([audio.read(clip) for clip in clips])[: 75 * audio.RATE_HZ + 100]


def test_same_as_the_stock_loop(meeting: np.ndarray) -> None:
    silero = vad._silero()
    model = silero.load_silero_vad()
    wave = torch.from_numpy(meeting)
    frames = torch.nn.functional.pad(wave, (0, -len(wave) % 512)).split(512)
    with vad._one_thread(), torch.inference_mode():
        stock = [model(frame, 16000).item() for frame in frames]
        spans = silero.get_speech_timestamps(wave, model)
    np.testing.assert_allclose(speech_probabilities(meeting), stock, atol=1e-4)
    theirs = [(span["start"] / 16000, span["end"] / 16000) for span in spans]
    assert len(theirs) > 5
    assert detect_speech(meeting, VadConfig(level_db=None)) == theirs


def test_the_settings_reach_the_detector(meeting: np.ndarray) -> None:
    default = detect_speech(meeting)
    assert len(detect_speech(meeting, VadConfig(min_silence_s=1.0))) < len(default)
    longer = detect_speech(meeting, VadConfig(min_speech_s=2.0))
    assert len(longer) < len(default)
    assert min(segment.duration_s for segment in longer) > 2.0
    strict = detect_speech(meeting, VadConfig(threshold=0.9))
    assert sum(s.duration_s for s in strict) < sum(s.duration_s for s in default)
    padded = detect_speech(meeting, VadConfig(pad_s=0.1))
    assert padded[0].start_s == pytest.approx(max(0.0, default[0].start_s - 0.07))


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 1600, 160000])
def test_silence_of_any_length_is_no_speech(samples: int) -> None:
    assert detect_speech(np.zeros(samples, dtype=np.float32)) == []


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 0.05, 0.3])
def test_noise_of_any_level_is_no_speech(scale: float) -> None:
    noise = np.random.default_rng(0).normal(scale=scale, size=160000).astype(np.float32)
    assert detect_speech(noise) == []


def test_the_level_of_the_recording_does_not_matter(meeting: np.ndarray) -> None:
    """The model alone hears next to nothing 30 dB further down."""
    expected = detect_speech(meeting)
    for gain_db in (-15.0, 15.0):
        found = detect_speech(meeting * np.float32(10 ** (gain_db / 20)))
        np.testing.assert_allclose(found, expected, atol=0.033)  # a frame at most, from rounding
    as_it_is = detect_speech(meeting * np.float32(0.03), VadConfig(level_db=None))
    assert sum(s.duration_s for s in as_it_is) < 0.5 * sum(s.duration_s for s in expected)


def test_gain_by_hand() -> None:
    """A square wave of amplitude 0.01 is at -40 dB; one of 1e-6, at -120 dB, gets 40 dB and no more."""
    square = np.tile([1.0, -1.0], 8000).astype(np.float32)
    assert vad._gain(0.01 * square, -20.0) == pytest.approx(10.0)
    assert vad._gain(1e-6 * square, -20.0) == pytest.approx(100.0)
    assert vad._gain(square[:100], -20.0) == 1.0


def test_torch_keeps_its_threads() -> None:
    """Importing silero_vad sets one thread for the whole process."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        vad._silero.cache_clear()
        for name in [name for name in sys.modules if name.startswith("silero_vad")]:
            del sys.modules[name]
        detect_speech(np.zeros(1600, dtype=np.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "setting",
    [
        {"level_db": 3.0},
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"min_speech_s": -1.0},
        {"pad_s": float("inf")},
    ],
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        VadConfig(**setting)
