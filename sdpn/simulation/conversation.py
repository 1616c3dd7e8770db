"""Planning of a conversation: which speaker utters which phrases, and when.

Turns follow `sdpn.simulation.turn_statistics`. After each turn, the speaker changes or continues; a change
comes after a gap or with an overlap; other speakers interject during turns. A turn is assembled from phrases,
the speech segments of clean utterances, which are never cut: it uses the phrases that come closest to the
drawn length.

The speakers' shares p of the turns are drawn from a Dirichlet distribution. Speaker i loses the floor with
probability c (1 - p_i) and j follows with a probability in proportion to p_j, which gives i the share p_i of
the turns in the long run (the chain is reversible: p_i c p_j = p_j c p_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.simulation.turn_statistics import JOIN_S, Profile, TurnStatistics, quantile

#: Time reserved for each speaker without a turn so far, in seconds.
_ENTRANCE_S = 5.0

#: Number of attempts to draw a conversation with all speakers.
_ATTEMPTS = 20

#: Silence between two phrases of a turn that did not follow each other, in seconds; less than `JOIN_S`.
_PHRASE_GAP_S = (0.08, 0.22)

#: Minimum share of a turn outside its overlap with the turn before.
_LEAST_OWN = 0.1


@dataclass(frozen=True)
class Phrase:
    """A segment of speech in an utterance.

    Attributes:
        utterance: index of the utterance among those of its speaker.
        start: first sample.
        end: sample after the last one.
    """

    utterance: int
    start: int
    end: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end - self.start) / RATE_HZ


class Spoken(NamedTuple):
    """A phrase placed in the conversation.

    Attributes:
        speaker: index of the speaker.
        phrase: the phrase.
        onset: its first sample in the conversation.
    """

    speaker: int
    phrase: Phrase
    onset: int


class PhrasePool:
    """The phrases of one speaker; none is repeated before all have been used.

    Args:
        phrases: phrases of each utterance, in chronological order; at least one in total.
        rng: random generator that shuffles the utterances.
    """

    def __init__(self, phrases: Sequence[Sequence[Phrase]], rng: np.random.Generator) -> None:
        self._utterances = [list(utterance) for utterance in phrases if utterance]
        if not self._utterances:
            raise ValueError("a speaker needs at least one phrase")
        self._rng = rng
        self._left: list[Phrase] = []

    def take(self, duration_s: float) -> list[tuple[float, Phrase]]:
        """Take phrases with a total duration of about ``duration_s``.

        Returns:
            (seconds from the start of the turn, phrase), in order of time; the first starts at 0.
        """
        phrases: list[tuple[float, Phrase]] = []
        at_s = 0.0
        while True:
            if not self._left:
                order = self._rng.permutation(len(self._utterances))
                self._left = [phrase for index in order for phrase in self._utterances[index]]
            if phrases:
                at_s += self._gap_s(phrases[-1][1], self._left[0])
            remaining_s = duration_s - at_s
            index = 0
            if self._left[0].duration_s > remaining_s:
                lengths_s = np.array([phrase.duration_s for phrase in self._left])
                index = int(np.argmin(np.abs(lengths_s - remaining_s)))
                if phrases and lengths_s[index] > 2 * remaining_s:  # closer without it
                    return phrases
            phrase = self._left.pop(index)
            phrases.append((at_s, phrase))
            at_s += phrase.duration_s
            if duration_s - at_s <= _PHRASE_GAP_S[0]:
                return phrases

    def _gap_s(self, before: Phrase, after: Phrase) -> float:
        """Silence between two phrases: the original one if they are adjacent, limited within a turn."""
        if before.utterance == after.utterance and after.start >= before.end:
            return min((after.start - before.end) / RATE_HZ, _PHRASE_GAP_S[1])
        return float(self._rng.uniform(*_PHRASE_GAP_S))


@dataclass(frozen=True)
class _Turn:
    speaker: int
    start_s: float
    phrases: list[tuple[float, Phrase]]

    @property
    def end_s(self) -> float:
        at_s, phrase = self.phrases[-1]
        return self.start_s + at_s + phrase.duration_s


def converse(
    rng: np.random.Generator,
    statistics: TurnStatistics,
    phrases: Sequence[Sequence[Sequence[Phrase]]],
    duration_s: float,
) -> list[Spoken]:
    """Draw the turns of a conversation.

    Args:
        rng: random generator.
        statistics: turn statistics.
        phrases: phrases by speaker and utterance; at least one per speaker. A single speaker pauses between
            turns.
        duration_s: duration of the conversation.

    Returns:
        phrases sorted by onset, within the conversation. Those of one speaker do not overlap, and every
        speaker has at least one.

    Raises:
        InputError: the conversation is too short for so many speakers.
    """
    for _ in range(_ATTEMPTS):
        pools = [PhrasePool(utterances, rng) for utterances in phrases]
        profile = statistics.draw_profile(len(phrases), rng)
        conversation = _Conversation(rng, statistics, profile, pools, duration_s)
        turns = conversation.take_turns()
        if len({turn.speaker for turn in turns}) == len(phrases):
            break
    else:
        raise InputError(
            f"{duration_s:g} s are too short for {len(phrases)} speakers",
            hint="use longer conversations or fewer speakers",
        )
    spoken = [
        Spoken(turn.speaker, phrase, round((turn.start_s + at_s) * RATE_HZ))
        for turn in [*turns, *conversation.interject(turns)]
        for at_s, phrase in turn.phrases
    ]
    return sorted(spoken, key=lambda each: (each.onset, each.speaker))


class _Conversation:
    def __init__(
        self,
        rng: np.random.Generator,
        statistics: TurnStatistics,
        profile: Profile,
        pools: Sequence[PhrasePool],
        duration_s: float,
    ) -> None:
        self.rng, self.statistics, self.profile = rng, statistics, profile
        self.pools, self.duration_s = pools, duration_s
        self.shares = rng.dirichlet(np.full(len(pools), statistics.concentration))
        #: from this time on a speaker without a turn is preferred at the next change
        self.entrance_s = rng.uniform(0.0, 0.7 * duration_s, len(pools))

    def take_turns(self) -> list[_Turn]:
        """Turns that take the floor, in chronological order."""
        turns: list[_Turn] = []
        waiting_for_turn = set(range(len(self.pools)))
        while True:
            speaker, change = self._next_speaker(turns, waiting_for_turn)
            waiting_for_turn.discard(speaker)
            left_s = (
                self.duration_s - (turns[-1].end_s if turns else 0.0) - _ENTRANCE_S * len(waiting_for_turn)
            )
            wish_s = self.profile.mean_turn_s * self._draw(self.statistics.relative_turn)
            phrases = self.pools[speaker].take(min(wish_s, max(left_s, _ENTRANCE_S / 2)))
            turn = _Turn(speaker, 0.0, phrases)
            turn = _Turn(speaker, self._start_s(turns, turn.end_s, change, left_s), phrases)
            if turn.end_s > self.duration_s:
                return turns
            turns.append(turn)

    def interject(self, turns: Sequence[_Turn]) -> list[_Turn]:
        """Interjections: short turns of other speakers during a turn without overlap."""
        interjections: list[_Turn] = []
        if len(self.pools) == 1:
            return interjections
        for index, turn in enumerate(turns):
            start_s = max(turn.start_s, turns[index - 1].end_s if index else 0.0) + JOIN_S
            end_s = min([turn.end_s] + [after.start_s for after in turns[index + 1 : index + 2]]) - JOIN_S
            if end_s > start_s:
                interjections += self._interject_between(start_s, end_s, turn.speaker)
        return interjections

    def _interject_between(self, start_s: float, end_s: float, holder: int) -> list[_Turn]:
        others = np.delete(np.arange(len(self.pools)), holder)
        chances = self.shares[others] / self.shares[others].sum()
        free_s = end_s - start_s
        planned: list[_Turn] = []
        for _ in range(self.rng.poisson(self.profile.interjections_per_min / 60 * free_s)):
            speaker = int(self.rng.choice(others, p=chances))
            wish_s = self._draw(self.statistics.interjection_s)
            if wish_s > free_s:
                continue
            turn = _Turn(speaker, 0.0, self.pools[speaker].take(wish_s))
            if turn.end_s + JOIN_S <= free_s:
                free_s -= turn.end_s + JOIN_S
                planned.append(turn)
        placed = []
        silences_s = np.diff(np.sort(self.rng.uniform(0.0, free_s, len(planned))), prepend=0.0)
        for turn, silence_s in zip(planned, silences_s, strict=True):
            placed.append(_Turn(turn.speaker, start_s + silence_s, turn.phrases))
            start_s = placed[-1].end_s + JOIN_S
        return placed

    def _next_speaker(self, turns: Sequence[_Turn], waiting_for_turn: set[int]) -> tuple[int, bool]:
        """Draw the next speaker; returns it and whether the speaker changes."""
        if not turns:
            return int(self.rng.choice(len(self.pools), p=self.shares)), False
        last, now_s = turns[-1].speaker, turns[-1].end_s
        changes = self.rng.random() < self.profile.change_rate * (1 - self.shares[last])
        if len(self.pools) == 1 or not changes:
            return last, False
        waiting = [speaker for speaker in sorted(waiting_for_turn) if self.entrance_s[speaker] <= now_s]
        if waiting:
            return waiting[self.rng.integers(len(waiting))], True
        chances = self.shares.copy()
        chances[last] = 0.0
        return int(self.rng.choice(len(chances), p=chances / chances.sum())), True

    def _start_s(self, turns: Sequence[_Turn], length_s: float, change: bool, left_s: float) -> float:
        """Draw the start of the next turn of ``length_s``."""
        if not turns:
            return min(self._draw(self.statistics.gap_s), 2.0)
        last = turns[-1]
        if change and self.rng.random() < self.profile.overlap_probability:
            # not within the previous turn, and not overlapping the one before that
            reach_s = (1 - _LEAST_OWN) * min(last.end_s - last.start_s, length_s)
            if len(turns) > 1:
                reach_s = min(reach_s, max(0.0, last.end_s - turns[-2].end_s - JOIN_S))
            return last.end_s - min(self._draw(self.statistics.overlap_s), reach_s)
        silence_s = self._draw(self.statistics.gap_s) if change else self._draw(self.statistics.pause_s)
        least_s = 0.0 if change else JOIN_S
        return last.end_s + max(least_s, min(silence_s, max(0.0, left_s - length_s)))

    def _draw(self, distribution: Sequence[float]) -> float:
        return quantile(distribution, self.rng.random()) if distribution else 0.0
