"""Conditions of tests: the ratio, the room and the band that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.augmentation.conditions import measured_room, noise_at, one_after_another, sometimes, telephone

RATE = 16000


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    wave: np.ndarray = 0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return wave.astype(np.float32)


def test_noise_has_the_ratio_and_is_repeated() -> None:
    speech, clip = tone(500), np.random.default_rng(0).normal(size=5000).astype(np.float32)
    noisy = noise_at([clip], (5.0, 5.0))(speech, np.random.default_rng(1))
    added = noisy - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(5.0, abs=0.01)
    assert added[5000:10000] == pytest.approx(added[:5000], abs=1e-6)


def test_ratios_are_drawn_from_the_range() -> None:
    speech, clip = tone(500), np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    degrade, rng = noise_at([clip], (5.0, 15.0)), np.random.default_rng(1)
    ratios = [
        10 * np.log10(np.mean(speech**2) / np.mean((degrade(speech, rng) - speech) ** 2)) for _ in range(50)
    ]
    assert 5 <= min(ratios) < 7 and 13 < max(ratios) <= 15


def test_a_room_is_a_convolution_of_the_same_length() -> None:
    response = np.zeros(800, dtype=np.float32)
    response[[0, 400]] = 1.0, 0.5
    speech = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    wet = measured_room([response])(speech, np.random.default_rng(0))
    expected = np.convolve(speech, response)[:4000]
    assert len(wet) == 4000
    scale = float(wet @ expected / (expected @ expected))  # a room is scaled to unit energy
    assert wet == pytest.approx(scale * expected, abs=1e-4)


def test_a_telephone_keeps_its_band() -> None:
    rng = np.random.default_rng(0)
    inside, outside = (np.std(telephone(tone(hz), rng)) / np.std(tone(hz)) for hz in (1000, 6000))
    assert inside == pytest.approx(1, abs=0.1) and outside < 0.05


def test_conditions_follow_one_another() -> None:
    degrade = one_after_another(lambda wave, _: wave + 1, lambda wave, _: wave * 2)
    assert degrade(np.zeros(2), np.random.default_rng(0)).tolist() == [2.0, 2.0]


def test_a_condition_for_some() -> None:
    degrade, rng = sometimes(0.3, lambda wave, _: wave + 1), np.random.default_rng(0)
    share = np.mean([degrade(np.zeros(1), rng)[0] for _ in range(2000)])
    assert share == pytest.approx(0.3, abs=0.04)
