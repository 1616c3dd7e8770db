"""Trials that models are measured on, of people whom they were not trained on, and paired comparisons.

Shapes: M utterances, N trials, D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.metrics.bootstrap import Interval, percentile_interval
from sdpn.training.comparison import TrialList, read_trial_list

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
