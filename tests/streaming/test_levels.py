"""Levels of what has been heard, against those of the whole."""

from __future__ import annotations

import numpy as np

from sdpn.diarization.level import FRAME, levelled
from sdpn.streaming.levels import PastLevels

NUM_FRAMES = 4000


def test_levels_are_those_of_the_past() -> None:
    rng = np.random.default_rng(0)
    loudness_T = 10 ** rng.uniform(-3, -1, NUM_FRAMES)
    wave_S = (np.repeat(loudness_T, FRAME) * rng.normal(size=NUM_FRAMES * FRAME)).astype(np.float32)
    levels = PastLevels()
    found = [levels(wave_S[at : at + 8 * FRAME]) for at in range(0, len(wave_S), 8 * FRAME)]
    rms_T = np.concatenate([piece.rms_T for piece in found])
    whole_T = np.concatenate([piece.rms_T for piece in levelled([wave_S])])
    np.testing.assert_allclose(rms_T, whole_T)
    for number in (0, 5, 200, 499):
        heard = 8 * (number + 1)
        last_minute_T = rms_T[max(0, heard - 1875) : heard]
        np.testing.assert_allclose(found[number].around_T, np.percentile(last_minute_T, 95))
        if heard >= 94:
            near_T = np.sort(rms_T[heard - 94 : heard])
            np.testing.assert_allclose(found[number].near_T, near_T[int(np.ceil(0.9 * 94)) - 1])


def test_memory_is_a_minute() -> None:
    levels = PastLevels()
    for _ in range(400):
        levels(np.zeros(8 * FRAME, dtype=np.float32))
    assert len(levels._rms_T) == 1875


def test_silence_has_no_level_and_noise_at_most_60_db() -> None:
    silence = PastLevels()(np.zeros(4 * FRAME, dtype=np.float32))
    assert not silence.around_T.any()
    faint = PastLevels()(np.full(4 * FRAME, 1e-5, dtype=np.float32))
    np.testing.assert_allclose(faint.around_T, 1e-3)
