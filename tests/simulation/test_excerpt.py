"""Excerpts of conversations sound as those stretches of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdpn.simulation.excerpt import excerpt
from sdpn.simulation.manifest import (
    Ambience,
    Conversation,
    PlacedPhrase,
    SourceFile,
    Speaker,
    SpeakerUtterance,
)
from sdpn.simulation.mixing import mix_layers

_WAVE = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
_WHOLE = Conversation(
    recording="a",
    num_samples=100_000,
    speakers=(Speaker("x", None), Speaker("y", None)),
    utterances=(SpeakerUtterance(0, SourceFile("x", "")), SpeakerUtterance(1, SourceFile("y", ""))),
    phrases=(
        PlacedPhrase(0, 1_000, 21_000, 5_000, -3.0),
        PlacedPhrase(1, 0, 30_000, 20_000, 0.0),
        PlacedPhrase(0, 21_000, 39_000, 60_000, -6.0),
    ),
    noise=None,
    ambience=Ambience(snr_db=200.0, seed=1),
)


def speech(conversation: Conversation, dtype: type[np.floating] = np.float64) -> np.ndarray:
    return mix_layers(conversation, lambda _kind, _source: _WAVE, dtype)[0]


@pytest.mark.parametrize(
    ("first", "length"), [(0, 100_000), (10_000, 30_000), (30_000, 45_000), (-2_000, 20_000)]
)
def test_samples_are_those_of_the_whole(first: int, length: int) -> None:
    part = excerpt(_WHOLE, first, length)
    whole = np.pad(speech(_WHOLE), 5_000)[first + 5_000 :][:length]
    found = speech(part)
    assert part.num_samples == len(found) == length
    # phrases that are cut fade within 10 ms
    np.testing.assert_allclose(found[160:-160], whole[160:-160], atol=1e-12)


def test_phrases_outside_are_left_out() -> None:
    assert excerpt(_WHOLE, 52_000, 7_000).phrases == ()
    assert excerpt(_WHOLE, 49_990, 20_000).phrases == (
        PlacedPhrase(1, 29_990, 30_000, 0, 0.0),
        PlacedPhrase(0, 21_000, 30_990, 10_010, -6.0),
    )


def test_float32_differs_by_rounding_alone() -> None:
    np.testing.assert_allclose(speech(_WHOLE, np.float32), speech(_WHOLE), atol=1e-5)
    assert speech(_WHOLE, np.float32).dtype == np.float32
    noisy = replace(_WHOLE, ambience=Ambience(snr_db=10.0, seed=1))
    _, ambience = mix_layers(noisy, lambda _kind, _source: _WAVE, np.float32)
    power = np.mean(speech(_WHOLE)[np.r_[5_000:50_000, 60_000:78_000]] ** 2)
    assert ambience.dtype == np.float32
    assert 10 * np.log10(power / np.mean(ambience**2)) == pytest.approx(10.0, abs=0.01)
