"""VAD against the stock loop of silero-vad on real meetings, and on what is not speech."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sdpn.diarization import silero as torch_silero
from sdpn.diarization.level import levelled
from sdpn.diarization.pipeline import DiarizationConfig
from sdpn.diarization.speech import Segment
from sdpn.diarization.vad import SpeechDetector, VadConfig, detect_speech, speech_probabilities
from sdpn.io import audio


@pytest.fixture(scope="module")
def meeting(shared_data: Path) -> np.ndarray:
    """75 s of meetings: more than one block of frames, and no whole number of them."""
    clips = sorted((shared_data / "ami_excerpt").glob("*.flac"))[:3]
    return np.concatenate([audio.read(clip) for clip in clips])[: 75 * audio.RATE_HZ + 100]


def test_same_as_the_stock_loop(meeting: np.ndarray) -> None:
    silero = torch_silero._silero()
    model = silero.load_silero_vad()
    wave = torch.from_numpy(meeting)
    frames = torch.nn.functional.pad(wave, (0, -len(wave) % 512)).split(512)
    with torch_silero._one_thread(), torch.inference_mode():
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
    """The model alone detects almost no speech 30 dB further down."""
    expected = detect_speech(meeting)
    for gain_db in (-60.0, -15.0, 15.0):
        found = detect_speech(meeting * np.float32(10 ** (gain_db / 20)))
        np.testing.assert_allclose(found, expected, atol=0.033)  # a frame at most, from rounding
    for power in (-20, -1, 3):  # bit for bit
        assert detect_speech(meeting * np.float32(2.0**power)) == expected
    as_it_is = detect_speech(meeting * np.float32(0.03), VadConfig(level_db=None))
    assert sum(s.duration_s for s in as_it_is) < 0.5 * sum(s.duration_s for s in expected)


@pytest.mark.parametrize("config", [VadConfig(), DiarizationConfig().vad], ids=["default", "pipeline"])
def test_quiet_speech_after_a_ring_is_detected(config: VadConfig, shared_data: Path) -> None:
    """The same 26 s with and without 2 s of telephone at -4 dB; speech is at -46 dB."""
    folder = shared_data.parent / "cases" / "loud-ring-deafens-vad"
    ring, without = (detect_speech(audio.read(folder / f"{name}.wav"), config) for name in ("ring", "noring"))
    assert seconds(ring) >= seconds(without)
    if config.threshold == 0.3:
        assert seconds(ring) >= 17.4
    missed = [(start_s, end_s) for start_s, end_s in without if not covered(start_s + 0.2, end_s - 0.2, ring)]
    assert missed == []


def seconds(segments: list[Segment]) -> float:
    return sum(segment.duration_s for segment in segments)


def covered(start_s: float, end_s: float, segments: list[Segment]) -> bool:
    return any(segment.start_s <= start_s and end_s <= segment.end_s for segment in segments)


def tone(duration_s: float, frequency_hz: float) -> np.ndarray:
    time_S = np.arange(round(duration_s * audio.RATE_HZ)) / audio.RATE_HZ
    wave_S: np.ndarray = np.sin(2 * np.pi * frequency_hz * time_S).astype(np.float32)
    return wave_S


@pytest.mark.parametrize("where", ["before", "after", "both"])
@pytest.mark.parametrize("duration_s", [1.0, 20.0])
def test_loud_tones_beside_quiet_speech(where: str, duration_s: float, meeting: np.ndarray) -> None:
    """Twenty seconds of tone are a third of the recording, 40 dB above the speech."""
    config = DiarizationConfig().vad
    quiet = meeting[: 40 * audio.RATE_HZ] * np.float32(0.01 / np.sqrt(np.mean(meeting**2)))
    loud = 0.9 * tone(duration_s, 1000.0)
    pieces = [loud] * (where != "after") + [quiet] + [loud] * (where != "before")
    shift_s = duration_s if where != "after" else 0.0
    alone = detect_speech(quiet, config)
    found = detect_speech(np.concatenate(pieces), config)
    inside = [
        Segment(max(start_s - shift_s, 0.0), min(end_s - shift_s, 40.0))
        for start_s, end_s in found
        if end_s > shift_s and start_s < shift_s + 40.0
    ]
    assert seconds(inside) > 0.97 * seconds(alone)
    assert seconds(found) - seconds(inside) < 1.0


def test_speech_far_below_other_speech_is_detected(meeting: np.ndarray) -> None:
    """Ten seconds at 30 dB below the ten before and after."""
    gains = np.repeat(np.array([1.0, 10**-1.5, 1.0], dtype=np.float32), 10 * audio.RATE_HZ)
    expected = detect_speech(meeting[: len(gains)])
    found = detect_speech(meeting[: len(gains)] * gains)

    def in_the_middle(segments: list[Segment]) -> float:
        return sum(max(0.0, min(end_s, 20.0) - max(start_s, 10.0)) for start_s, end_s in segments)

    assert in_the_middle(expected) > 5.0
    assert in_the_middle(found) > 0.8 * in_the_middle(expected)


def test_noise_that_swells_is_no_speech() -> None:
    """Steps of 12 dB from -96 dB to full scale and back, 8 s each: there is always something to be raised."""
    steps = [*range(-96, 0, 12), *range(-12, -97, -12)]
    levels = np.repeat(10 ** (np.array(steps) / 20), 8 * audio.RATE_HZ)
    noise = np.random.default_rng(0).uniform(-1.0, 1.0, len(levels)) * levels
    in_16_bits = np.round(noise * 32767) / 32768
    for wave in (noise, in_16_bits):
        assert detect_speech(wave.astype(np.float32), DiarizationConfig().vad) == []


def test_the_detector_gives_the_same_result_for_any_blocks(meeting: np.ndarray) -> None:
    expected = detect_speech(meeting)
    for size in (1, 777, 480000):
        detector, found = SpeechDetector(VadConfig()), []
        wave = meeting if size > 1 else meeting[:20000]
        for piece in levelled(wave[at : at + size] for at in range(0, len(wave), size)):
            found += detector.push(piece)
        found += detector.finish()
        assert found == (expected if size > 1 else detect_speech(wave))


def test_torch_keeps_its_threads() -> None:
    """Importing silero_vad sets one thread for the whole process."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch_silero._silero.cache_clear()
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
