"""Levels by hand, against scipy's rank filters, and whatever the pieces and the scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import rank_filter

from sdpn.diarization.level import CHUNK_FRAMES, FRAME, Levelled, frame_rms, levelled

RATE_HZ = 16000


def square(seconds: float, amplitude: float) -> np.ndarray:
    return np.tile(np.array([amplitude, -amplitude], dtype=np.float32), round(seconds * RATE_HZ / 2))


def both(*waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pieces = list(levelled(waves))
    return np.concatenate([p.around_T for p in pieces]), np.concatenate([p.near_T for p in pieces])


def test_a_steady_sound_has_its_level_everywhere() -> None:
    for seconds in (10.24, 4.096, 1.024, 0.064):
        for level_T in both(square(seconds, 0.01)):
            np.testing.assert_allclose(level_T, 0.01, rtol=1e-6)


def test_speech_beside_a_loud_sound_keeps_its_own_level_nearby() -> None:
    """3 s of ring in 20: the surroundings have its level, the neighbourhood does from its inside only."""
    around_T, near_T = both(square(10.24, 0.01), square(3.072, 0.8), square(10.24, 0.01))
    np.testing.assert_allclose(around_T, 0.8, rtol=1e-6)
    assert (near_T[: 10 * RATE_HZ // FRAME] < 0.0101).all()
    assert (near_T[-10 * RATE_HZ // FRAME :] < 0.0101).all()


def test_speech_near_clicks_is_detected() -> None:
    wave = square(20.48, 0.01)
    wave[:: 2 * RATE_HZ] = 0.9
    assert both(wave)[1].max() == pytest.approx(0.01, rel=1e-6)


def test_a_sound_far_away_sets_no_level() -> None:
    around_T, _ = both(square(204.8, 0.01), square(20.48, 0.8))
    assert (around_T[: round(140 * RATE_HZ / FRAME)] < 0.0101).all()
    assert around_T[-1] == pytest.approx(0.8)


def test_silence_has_no_level_and_does_not_count() -> None:
    around_T, near_T = both(np.zeros(130 * RATE_HZ, dtype=np.float32), square(1.024, 0.1))
    assert (around_T[: round(60 * RATE_HZ / FRAME)] == 0).all()
    assert around_T[-1] == pytest.approx(0.1)
    assert near_T[0] == 0
    assert list(levelled([])) == []


def test_against_scipy() -> None:
    """Rank filters over the whole recording, where ours sees three chunks at once."""
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(FRAME * (2 * CHUNK_FRAMES + 700)).astype(np.float32)
    wave *= np.repeat(rng.uniform(0.01, 1.0, len(wave) // FRAME), FRAME).astype(np.float32)
    around_T, near_T = both(wave)
    rms_T = frame_rms(wave)
    size = round(3 * RATE_HZ / FRAME)
    rank = int(np.ceil(0.9 * size)) - 1
    origin = (size - 1) // 2
    back_T = rank_filter(rms_T, rank, size=size, mode="constant", cval=np.inf, origin=origin)
    ahead_T = rank_filter(rms_T[::-1], rank, size=size, mode="constant", cval=np.inf, origin=origin)[::-1]
    np.testing.assert_array_equal(near_T, np.minimum(back_T, ahead_T))
    minute = 60 * RATE_HZ // FRAME
    for at in range(0, len(rms_T), 32):
        expected = np.percentile(rms_T[max(0, at - minute) : at + minute], 95)
        np.testing.assert_array_equal(around_T[at : at + 32], expected)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 150 * RATE_HZ - 1), max_size=8), power=st.integers(-12, 12))
def test_neither_pieces_nor_powers_of_two_change_a_bit(cuts: list[int], power: int) -> None:
    wave = np.random.default_rng(1).standard_normal(150 * RATE_HZ).astype(np.float32)
    wave[30 * RATE_HZ : 60 * RATE_HZ] = 0
    whole = list(levelled([wave]))
    scale = np.float32(2.0**power)
    again = list(levelled(np.split(wave * scale, sorted(cuts))))
    assert len(whole) == len(again) == 3
    for one, other in zip(whole, again, strict=True):
        scaled = Levelled(*(part * scale for part in one))  # samples and levels alike
        for expected, found in zip(scaled, other, strict=True):
            np.testing.assert_array_equal(found, expected)
