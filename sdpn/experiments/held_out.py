"""Trials that models are measured on, of people whom they were not trained on, and paired comparisons.

Shapes: M utterances, N trials, D embedding.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance
from sdpn.metrics.bootstrap import Interval, percentile_interval
from sdpn.training.comparison import TrialList, read_trial_list

_log = logging.getLogger(__name__)

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class HeldOutTrials(TrialList):
    """A trial list that models are compared on."""

    def digest(self) -> str:
        """Identifies trials and speech, by names, labels and files."""
        lines = [f"{one.id} {one.path} {one.start_s} {one.end_s}" for one in self.utterances]
        text = "\n".join(lines).encode() + self.trials.is_target.tobytes()
        return hashlib.sha256(text + self.trials.first.tobytes() + self.trials.second.tobytes()).hexdigest()[
            :16
        ]

    def comparison(self, against: np.ndarray, *, seed: int = 0) -> Callable[[np.ndarray], ScoreComparison]:
        """What compares scores of these trials with others, (N,), whose resamples are drawn once."""
        theirs, their_eer = self.resampled(against, seed=seed), self.eer(against)

        def compare(scores: np.ndarray) -> ScoreComparison:
            ours = self.resampled(scores, seed=seed)
            return ScoreComparison(
                eer=self.eer(scores),
                interval=percentile_interval(ours, _CONFIDENCE),
                difference=self.eer(scores) - their_eer,
                difference_interval=percentile_interval(ours - theirs, _CONFIDENCE),
            )

        return compare


class ScoreComparison(NamedTuple):
    """An EER, and how far it is from another one on the same trials.

    Attributes:
        eer: in [0, 1].
        interval: 95 %, over speakers.
        difference: to the other; negative if this one is better.
        difference_interval: paired: the same speakers are drawn for both.
    """

    eer: float
    interval: Interval
    difference: float
    difference_interval: Interval

    def to_dict(self) -> dict[str, float]:
        """The EER, and the difference with its interval, as plain values."""
        return {
            "eer": self.eer,
            "difference": self.difference,
            "difference_low": self.difference_interval.low,
            "difference_high": self.difference_interval.high,
        }


def read_held_out(folder: Path, trials: Path | None = None) -> HeldOutTrials:
    """Read a Kaldi data directory with speakers, and its trial list.

    Args:
        folder: the directory.
        trials: the list; None takes ``trials`` in the directory.

    Raises:
        InputError: as `sdpn.training.comparison.read_trial_list`.
    """
    listed = read_trial_list(folder, folder / "trials" if trials is None else trials)
    return HeldOutTrials(
        name=listed.name, trials=listed.trials, utterances=listed.utterances, speaker_M=listed.speaker_M
    )


def refuse_shared_speech(one: Sequence[Utterance], other: Sequence[Utterance], what: tuple[str, str]) -> None:
    """Refuse two sets that share a recording or, as far as their names say, a speaker.

    Recordings are compared by file and start. Speakers are compared by name, which in two corpora may be of
    two people: if they share names but no recording, a warning says so.

    Args:
        one: a set.
        other: another one.
        what: what they are, for messages.

    Raises:
        InputError: a recording is in both.
    """
    places = {_place(utterance) for utterance in one}
    shared = [utterance for utterance in other if _place(utterance) in places]
    if shared:
        raise InputError(
            f"{what[1]} and {what[0]} share {len(shared)} utterances, such as {shared[0].id!r}: figures "
            "would be of speech that is known already",
            path=shared[0].path,
            hint="keep them apart by speaker ('sdpn data subset')",
        )
    names = _speakers(one) & _speakers(other)
    if names:
        _log.warning(
            "%s and %s both have speaker %r (%d such names): if that is one person, figures are too good",
            what[0],
            what[1],
            min(names),
            len(names),
        )


def _place(utterance: Utterance) -> tuple[str, float]:
    return str(utterance.path.resolve()), utterance.start_s


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {one.speaker for one in utterances if one.speaker is not None}
