"""Mixing measured on its output: gains, joins, rooms, noise, levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.simulation.manifest import (
    Ambience,
    Conversation,
    Kind,
    Noise,
    PlacedPhrase,
    SimulatedRoom,
    SourceFile,
    Speaker,
    SpeakerUtterance,
)
from sdpn.simulation.mixing import mix

RATE_HZ = 16000
UTTERANCE = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE_HZ).astype(np.float32)
#: So faint that 16 bits do not hold it.
NO_AMBIENCE = Ambience(snr_db=150.0, seed=0)


def conversation(*phrases: PlacedPhrase, duration_s: float = 4.0) -> Conversation:
    return Conversation(
        recording="rec",
        num_samples=round(duration_s * RATE_HZ),
        speakers=(Speaker("A", None), Speaker("B", None)),
        utterances=(
            SpeakerUtterance(0, SourceFile("a.wav", "")),
            SpeakerUtterance(1, SourceFile("b.wav", "")),
        ),
        phrases=phrases,
        noise=None,
        ambience=NO_AMBIENCE,
    )


def mixed(what: Conversation, **files: np.ndarray) -> np.ndarray:
    """Mix from arrays, as floats in [-1, 1]."""
    known = {"a": UTTERANCE, "b": UTTERANCE[::-1], **files}

    def load(kind: Kind, source: SourceFile) -> np.ndarray:
        assert kind in ("utterance", "room", "noise")
        return known[source.path.removesuffix(".wav")]

    return mix(what, load) / 32768


def test_a_phrase_has_its_place_and_its_gain() -> None:
    mix = mixed(conversation(PlacedPhrase(0, 8000, 24000, 16000, -6.0)))
    assert len(mix) == 64000
    inside = slice(16160, 31840)  # between the fades
    np.testing.assert_allclose(mix[inside], UTTERANCE[8160:23840] * 10 ** (-6 / 20), atol=2e-5)
    assert not np.any(mix[: 16000 - 160])
    assert not np.any(mix[32000 + 160 :])


def test_neighbours_join_without_a_trace() -> None:
    whole = conversation(PlacedPhrase(0, 4000, 28000, 16000, 0.0))
    parts = conversation(PlacedPhrase(0, 4000, 12345, 16000, 0.0), PlacedPhrase(0, 12345, 28000, 24345, 0.0))
    np.testing.assert_allclose(mixed(parts), mixed(whole), atol=4e-5)


def test_phrases_at_the_very_ends() -> None:
    mix = mixed(conversation(PlacedPhrase(0, 0, 32000, 0, 0.0), duration_s=2.0))
    np.testing.assert_allclose(mix[160:-160], UTTERANCE[160:-160], atol=2e-5)


def test_overlapping_speakers_add_up() -> None:
    first, second = PlacedPhrase(0, 0, 16000, 8000, 0.0), PlacedPhrase(1, 0, 16000, 16000, -10.0)
    both = mixed(conversation(first, second))
    np.testing.assert_allclose(both, mixed(conversation(first)) + mixed(conversation(second)), atol=4e-5)


def test_a_measured_room_adds_no_delay() -> None:
    """The direct sound comes 30 ms into the response; an echo of a half 100 ms later."""
    response = np.zeros(16000, dtype=np.float32)
    response[480], response[480 + 1600] = 1.0, 0.5
    dry = conversation(PlacedPhrase(0, 0, 16000, 8000, 0.0))
    wet = replace(dry, speakers=(Speaker("A", SourceFile("room.wav", "")), Speaker("B", None)))
    direct, mix = mixed(dry), mixed(wet, room=response) * np.sqrt(1.25)
    delay = 16  # what is kept before the direct sound: a millisecond
    np.testing.assert_allclose(mix[delay : delay + 9600], direct[:9600], atol=4e-5)
    np.testing.assert_allclose(mix[delay + 24160 : delay + 25500], 0.5 * direct[22560:23900], atol=4e-5)
    with pytest.raises(InputError, match=r"room 'room\.wav' is silent"):
        mixed(wet, room=np.zeros(100))


def test_simulated_rooms_ring_and_come_from_their_seed() -> None:
    dry = conversation(PlacedPhrase(0, 0, 16000, 8000, 0.0))

    def mix(seed: int) -> np.ndarray:
        return mixed(replace(dry, speakers=(Speaker("A", SimulatedRoom(0.4, seed)), Speaker("B", None))))

    tail = slice(24000 + 400, 24000 + 1600)  # 25 to 100 ms after the speech
    assert not np.any(mixed(dry)[tail])
    assert np.std(mix(1)[tail]) > 1e-3
    np.testing.assert_array_equal(mix(1), mix(1))
    assert np.any(mix(1) != mix(2))


@pytest.mark.parametrize("snr_db", [0.0, 15.0])
def test_noise_has_its_ratio_to_the_speech(snr_db: float) -> None:
    clean = conversation(PlacedPhrase(0, 0, 32000, 16000, -20.0))
    clips = (SourceFile("hum.wav", ""), SourceFile("hiss.wav", ""))
    files = {
        "hum": np.sin(np.arange(9000) / 20).astype(np.float32),
        "hiss": np.random.default_rng(1).standard_normal(5000).astype(np.float32),
    }
    noise = mixed(replace(clean, noise=Noise(snr_db=snr_db, clips=clips)), **files) - mixed(clean)
    speech_power = np.mean(mixed(clean)[16000:48000] ** 2)
    assert 10 * np.log10(speech_power / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.05)
    # it fills the conversation: again and again, 20 ms of cross-fade between two clips
    lap = 9000 + 5000 - 2 * 320
    np.testing.assert_allclose(noise[320:8000], noise[lap + 320 : lap + 8000], atol=1e-3)
    assert np.sqrt(np.mean(noise.reshape(-1, 320) ** 2, axis=1)).min() > 0.2 * noise.std()


def test_silent_noise_adds_nothing() -> None:
    clean = conversation(PlacedPhrase(0, 0, 32000, 16000, -20.0))
    silent = replace(clean, noise=Noise(snr_db=0.0, clips=(SourceFile("none.wav", ""),)))
    np.testing.assert_array_equal(mixed(silent, none=np.zeros(8000)), mixed(clean))
    np.testing.assert_array_equal(
        mixed(silent, none=np.ones(100)), mixed(clean)
    )  # too short to be cross-faded


def test_ambience_has_its_ratio_and_its_seed() -> None:
    clean = conversation(PlacedPhrase(0, 0, 32000, 16000, 0.0))
    rustle = mixed(replace(clean, ambience=Ambience(snr_db=30.0, seed=5)))
    speech_power = np.mean(mixed(clean)[16000:48000] ** 2)
    assert 10 * np.log10(speech_power / np.mean(rustle[:15000] ** 2)) == pytest.approx(30.0, abs=0.5)
    assert np.any(rustle != mixed(replace(clean, ambience=Ambience(snr_db=30.0, seed=6))))


def test_nothing_is_clipped() -> None:
    quiet, loud = (mixed(conversation(PlacedPhrase(0, 0, 32000, 16000, gain))) for gain in (0.0, 40.0))
    assert np.abs(loud).max() == pytest.approx(0.95, abs=1e-4)
    np.testing.assert_allclose(loud / np.abs(loud).max(), quiet / np.abs(quiet).max(), atol=2e-4)


def test_an_utterance_that_ends_too_soon() -> None:
    with pytest.raises(InputError, match=r"utterance 'a\.wav' ends at sample 32000, inside a phrase"):
        mixed(conversation(PlacedPhrase(0, 20000, 33000, 0, 0.0)))
