"""Planned conversations keep the rules, and their statistics are those that they were drawn from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.io.rttm import Turn
from sdpn.simulation.conversation import Phrase, PhrasePool, Spoken, converse
from sdpn.simulation.turn_statistics import TurnStatistics, estimate, observe, quantile, voxconverse

RATE_HZ = 16000

Phrases = list[list[list[Phrase]]]


def phrases(rng: np.random.Generator, num_speakers: int, num_utterances: int = 30) -> Phrases:
    """Phrases of speakers of read sentences: phrases of 0.3 to 2 s, four to an utterance."""
    speakers = []
    for _ in range(num_speakers):
        utterances = []
        for utterance in range(num_utterances):
            edges = np.cumsum(rng.uniform(0.3, 2.0, 4) * RATE_HZ).astype(int)
            starts = [8000, *(8000 + edges[:-1])]
            ends = 8000 + edges
            utterances.append([Phrase(utterance, int(a), int(b)) for a, b in zip(starts, ends, strict=True)])
        speakers.append(utterances)
    return speakers


def simulate(seed: int, num_speakers: int, duration_s: float, statistics: TurnStatistics) -> list[Spoken]:
    rng = np.random.default_rng(seed)
    return converse(rng, statistics, phrases(rng, num_speakers), duration_s)


def as_turns(spoken: list[Spoken], recording: str = "rec") -> list[Turn]:
    return [
        Turn(recording, each.onset / RATE_HZ, each.phrase.duration_s, str(each.speaker)) for each in spoken
    ]


@pytest.mark.parametrize("num_speakers", [1, 2, 4, 8, 20])
@pytest.mark.parametrize("seed", range(5))
def test_the_rules(seed: int, num_speakers: int) -> None:
    spoken = simulate(seed, num_speakers, 180.0, voxconverse())
    assert [each.onset for each in spoken] == sorted(each.onset for each in spoken)
    assert {each.speaker for each in spoken} == set(range(num_speakers))  # everyone is heard
    for speaker in range(num_speakers):
        own = [each for each in spoken if each.speaker == speaker]
        ends = [each.onset + each.phrase.end - each.phrase.start for each in own]
        # a sample of rounding may lie between two phrases that follow each other
        assert all(after.onset >= end - 1 for end, after in zip(ends, own[1:], strict=False))
        assert own[0].onset >= 0
        assert ends[-1] <= 180 * RATE_HZ + 1
        # no phrase is said a second time before all 120 have been said once
        uses = Counter(each.phrase for each in own)
        assert max(uses.values()) <= -(-len(own) // 120)


def test_same_seed_same_conversation() -> None:
    assert simulate(3, 4, 60.0, voxconverse()) == simulate(3, 4, 60.0, voxconverse())
    assert simulate(3, 4, 60.0, voxconverse()) != simulate(4, 4, 60.0, voxconverse())


@pytest.fixture(scope="module")
def simulated() -> TurnStatistics:
    """Thirty hours of 2 to 6 speakers: how much overlap there is differs much between conversations."""
    recordings = {
        f"sim{seed}": as_turns(simulate(seed, 2 + seed % 5, 180.0, voxconverse()), f"sim{seed}")
        for seed in range(600)
    }
    return estimate(recordings, "simulated")


def test_overlap_and_silence_are_voxconverses(simulated: TurnStatistics) -> None:
    real = voxconverse()
    assert simulated.overlap_share == pytest.approx(real.overlap_share, abs=0.006)
    assert simulated.silence_share == pytest.approx(real.silence_share, abs=0.01)
    assert simulated.changes_per_min == pytest.approx(real.changes_per_min, rel=0.25)
    assert simulated.interjections_per_min == pytest.approx(real.interjections_per_min, rel=0.25)


@pytest.mark.parametrize("name", ["turn_s", "pause_s", "gap_s", "overlap_s", "interjection_s"])
def test_lengths_are_voxconverses(name: str, simulated: TurnStatistics) -> None:
    """Quartiles within a fifth or 0.15 s, which is half of the shortest phrase."""
    for probability in (0.25, 0.5, 0.75):
        real = quantile(getattr(voxconverse(), name), probability)
        assert quantile(getattr(simulated, name), probability) == pytest.approx(real, rel=0.2, abs=0.15)


def test_other_statistics_give_other_conversations() -> None:
    """Strict alternation of two speakers with a second between them, and not a word out of turn."""
    pattern = [Turn("rec", 5.0 * n, 4.0, "AB"[n % 2]) for n in range(40)]
    strict = estimate({"rec": pattern}, "an interview")
    # without the doubt about one recording, and with equal shares
    strict = replace(strict, concentration=1e6)
    seen = observe(as_turns(simulate(0, 2, 180.0, strict)))
    assert seen.overlapped_s == 0
    assert seen.interjection_s == ()
    assert len(seen.pause_s) <= 1
    # in the last turn there may be less time left
    assert seen.gap_s[:-1] == pytest.approx([1.0] * (len(seen.gap_s) - 1), abs=1e-3)
    assert np.mean(seen.turn_s[:-1]) == pytest.approx(4.0, abs=0.2)


def test_a_few_speakers_dominate_at_low_concentration() -> None:
    def largest_share(concentration: float) -> float:
        statistics = replace(voxconverse(), concentration=concentration)
        shares = []
        for seed in range(10):
            counts = Counter(each.speaker for each in simulate(seed, 4, 180.0, statistics))
            shares.append(max(counts.values()) / sum(counts.values()))
        return float(np.mean(shares))

    assert largest_share(0.3) > largest_share(100.0) + 0.15


def test_too_short_for_everyone() -> None:
    with pytest.raises(InputError, match=r"10 s are too short for 20 speakers"):
        simulate(0, 20, 10.0, voxconverse())


def test_a_speaker_takes_what_fits() -> None:
    """Phrases of 1, 2 and 4 s; 0.1 s lie between the first two in their utterance, 0.9 s before the last."""
    own = [Phrase(0, 0, 16000), Phrase(0, 17600, 49600), Phrase(0, 64000, 128000)]

    def taken(duration_s: float) -> list[tuple[float, Phrase]]:
        return PhrasePool([own], np.random.default_rng(0)).take(duration_s)

    assert taken(1.0) == [(0.0, own[0])]
    assert taken(2.0) == [(0.0, own[0])]  # 1.0 s is nearer to it than 3.1 s
    assert taken(3.1) == [(0.0, own[0]), (pytest.approx(1.1), own[1])]
    assert taken(4.0) == taken(3.1)
    assert taken(0.1) == [(0.0, own[0])]  # nothing is shorter
    long = taken(7.0)
    assert [phrase for _, phrase in long] == own
    assert long[2][0] == pytest.approx(3.1 + 0.22)  # the speaker's silence of 0.9 s would have ended the turn
    with pytest.raises(ValueError, match="a speaker needs at least one phrase"):
        PhrasePool([[]], np.random.default_rng(0))


def test_no_phrase_is_repeated_before_all_are_used() -> None:
    rng = np.random.default_rng(0)
    (own,) = phrases(rng, 1, num_utterances=5)
    pool = PhrasePool(own, rng)
    uses: Counter[Phrase] = Counter()
    while sum(uses.values()) < 100:
        uses.update(phrase for _, phrase in pool.take(rng.uniform(0.3, 6.0)))
        assert max(uses.values()) - min(uses[phrase] for each in own for phrase in each) <= 1
