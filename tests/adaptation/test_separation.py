"""Separation against a calculation in plain loops, and what it must not be fooled by."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpn.adaptation.separation import (
    HeldOutWindows,
    across_recordings,
    cut_windows,
    embed_stretches,
    within_scenes,
)
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.folder import read_model


def _unit(rows: np.ndarray) -> np.ndarray:
    result: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def _windows(recordings: int, stretches: int, each: int = 2) -> HeldOutWindows:
    """Recordings of one scene, whose stretches of ``each`` windows are 10 s apart."""
    shape = (recordings, stretches, each)
    recording_N = np.repeat(np.arange(recordings), stretches * each)
    stretch_N = np.repeat(np.arange(recordings * stretches), each)
    start_N = np.broadcast_to(10.0 * np.arange(stretches)[:, None] + 1.5 * np.arange(each), shape).ravel()
    return HeldOutWindows((), stretch_N, recording_N, recording_N.copy(), start_N)


def _voices(rng: np.random.Generator, windows: HeldOutWindows, *, channel: float) -> np.ndarray:
    """Embeddings with a component of the speaker, and one of the recording's channel of a given size."""
    dim = 64
    voice = rng.standard_normal((windows.stretch_N.max() + 1, dim))[windows.stretch_N]
    room = rng.standard_normal((windows.recording_N.max() + 1, dim))[windows.recording_N]
    return _unit(voice + channel * room + 2.0 * rng.standard_normal((len(windows), dim)))


def test_within_scenes_is_the_z_score_of_the_partner() -> None:
    windows = _windows(2, 4)
    unit_ND = _unit(np.random.default_rng(0).standard_normal((len(windows), 6)))
    expected = [0.0, 0.0]
    for anchor in range(len(windows)):
        partner = anchor ^ 1
        negatives = [
            float(unit_ND[anchor] @ unit_ND[other])
            for other in range(len(windows))
            if windows.recording_N[other] == windows.recording_N[anchor] and other // 2 != anchor // 2
        ]
        cosine = float(unit_ND[anchor] @ unit_ND[partner])
        expected[windows.recording_N[anchor]] += (cosine - statistics.fmean(negatives)) / statistics.pstdev(
            negatives
        )
    separation = within_scenes(unit_ND, windows)
    np.testing.assert_allclose(separation.sums_U, expected)
    np.testing.assert_array_equal(separation.anchors_U, [8, 8])
    assert separation.mean == pytest.approx(sum(expected) / 16)


def test_a_constant_model_separates_nothing() -> None:
    windows = _windows(10, 20)
    unit_ND = _unit(np.random.default_rng(0).standard_normal((len(windows), 64)))
    assert within_scenes(unit_ND, windows).mean == pytest.approx(0.0, abs=0.15)
    assert across_recordings(unit_ND, windows, seed=0).mean == pytest.approx(0.0, abs=0.15)


def test_a_channel_component_helps_across_recordings_only() -> None:
    windows = _windows(10, 12)
    clean, channel = (_voices(np.random.default_rng(0), windows, channel=share) for share in (0.0, 1.0))
    assert (
        across_recordings(channel, windows, seed=0).mean
        > 1.1 * across_recordings(clean, windows, seed=0).mean
    )
    assert within_scenes(channel, windows).mean < within_scenes(clean, windows).mean


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 3.0))
def test_noise_lowers_it(seed: int, extra: float) -> None:
    windows = _windows(6, 12)
    rng = np.random.default_rng(seed)
    voice = rng.standard_normal((windows.stretch_N.max() + 1, 32))[windows.stretch_N]
    noise = rng.standard_normal((len(windows), 32))
    less, more = (within_scenes(_unit(voice + size * noise), windows).mean for size in (0.5, 0.5 + extra))
    assert more < less


def test_near_windows_are_no_negatives() -> None:
    windows = _windows(1, 2)  # the stretches are 10 s apart: 2 negatives each, which is too few
    assert within_scenes(_unit(np.ones((4, 3))), windows).anchors_U.tolist() == [0]
    assert np.isnan(within_scenes(_unit(np.ones((4, 3))), windows).mean)


def test_windows_are_cut_from_stretches_of_two_or_more(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    utterances = [
        Utterance("long", path, 1.0, 5.6),
        Utterance("short", path, 10.0, 12.9),
        Utterance("next", path, 130.0, 133.0),
    ]
    windows = cut_windows(utterances)
    assert windows.start_N.tolist() == [1.0, 2.5, 4.0, 130.0, 131.5]
    assert windows.stretch_N.tolist() == [0, 0, 0, 1, 1]
    assert windows.scene_N.tolist() == [0, 0, 0, 1, 1] and set(windows.recording_N) == {0}


def test_no_speech_gives_no_windows() -> None:
    windows = cut_windows([])
    assert len(windows) == 0
    assert within_scenes(np.zeros((0, 4)), windows).anchors_U.size == 0


def test_stretches_are_embedded_in_order(calls: Path, base: Path) -> None:
    windows = cut_windows(read_data_dir(calls))
    model = Embedder(read_model(base))
    rows = list(embed_stretches(model, windows))
    assert sum(map(len, rows)) == len(windows) == 8 * 6 * 2
    wave = windows.stretches[3][0].read()
    expected = model.embed(wave[:24000], sample_rate=16000)
    np.testing.assert_allclose(rows[3][0], expected / np.linalg.norm(expected), atol=1e-4)
