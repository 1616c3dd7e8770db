"""Ticks do not depend on how samples arrive."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from sdpn.errors import InputError
from sdpn.streaming.buffer import SampleBuffer

TICK = 2048


def ticks(pieces: list[tuple[np.ndarray, int]]) -> list[np.ndarray]:
    buffer = SampleBuffer(TICK)
    found = [tick for samples, rate_hz in pieces for tick in buffer.push(samples, rate_hz)]
    assert all(len(tick) == TICK for tick in found)
    return [*found, *buffer.finish()]


def noise(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 9000), max_size=12),
    rate_hz=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
)
def test_any_cut_gives_the_whole(cuts: list[int], rate_hz: int) -> None:
    whole = noise(9000)
    edges = [0, *sorted(cuts), len(whole)]
    cut = ticks([(whole[a:b], rate_hz) for a, b in pairwise(edges)])
    divisor = np.gcd(rate_hz, 16000)
    expected = resample_poly(whole, 16000 // divisor, rate_hz // divisor)
    np.testing.assert_array_equal(np.concatenate(cut), expected.astype(np.float32))


def test_a_change_of_rate_loses_nothing() -> None:
    one, two = noise(4000), noise(7000, 1)
    found = np.concatenate(ticks([(one, 8000), (two, 44100), (one, 16000)]))
    expected = [resample_poly(one, 2, 1), resample_poly(two, 160, 441), one]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8])
def test_pcm_and_channels(dtype: type) -> None:
    limits = np.iinfo(dtype)
    middle, half = (128, 64) if dtype is np.uint8 else (0, limits.max // 2 + 1)
    stereo = np.stack([np.full(3000, middle + half), np.full(3000, middle)], axis=1).astype(dtype)
    np.testing.assert_allclose(np.concatenate(ticks([(stereo, 16000)])), 0.25, atol=1e-6)


def test_nothing_is_nothing() -> None:
    assert ticks([(np.zeros(0), 16000), (np.zeros((0, 2)), 48000)]) == []


@pytest.mark.parametrize(
    ("samples", "rate_hz", "message"),
    [
        (np.array([0.0, np.nan]), 16000, "1 NaN or infinite samples of 2"),
        (np.array([0.0, 3000.0]), 16000, "samples up to 3000"),
        (np.zeros((2, 3, 4)), 16000, r"shape \(2, 3, 4\)"),
        (np.array(["a"]), 16000, "samples cannot be"),
        (np.zeros(5), 0, "sampling rate is 0"),
        (np.zeros(5), 16000.5, "sampling rate is 16000.5"),
        (np.zeros(5), "fast", "sampling rate is 'fast'"),
        (np.zeros(5), float("nan"), "sampling rate is nan"),
    ],
)
def test_what_is_no_audio(samples: np.ndarray, rate_hz: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(SampleBuffer(TICK).push(samples, rate_hz))
