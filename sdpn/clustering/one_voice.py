"""Are two clusters as similar as one voice, by what is known of the embedding rather than of the recording?

All else that `sdpn.clustering.merging` asks about two clusters is relative to the similarity between the
speakers of the recording. Where one person is alone, that is his own similarity to himself, and the halves
of what he says are as far apart as two people elsewhere. How similar two people are in other recordings says
that they are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: What a model's calibration says of its cosines (`sdpn.training.clustering_threshold`).
COSINES = frozenset({"same_cosine", "different_cosine"})

#: It is used if one voice is so much more similar than two: for a network that has hardly learned anything,
#: everybody is similar.
_LEAST_DIFFERENCE = 0.2

#: Least similarity of one voice of a recording, as a share of the usual one: windows in loud noise are hardly
#: alike.
_LEAST_OWN = 0.2


class Weights(NamedTuple):
    """How similarity becomes log odds: minus softplus of (share - begin) / by.

    Attributes:
        constant: log odds of every further speaker.
        of_own: share of the similarity of one voice of this recording from where on the odds fall.
        by_own: over how much of it they fall by one.
        of_usual: the same for one voice of usual recordings, at the step from one speaker to two.
        by_usual: likewise.
    """

    constant: float
    of_own: float
    by_own: float
    of_usual: float
    by_usual: float


#: Fitted to `fast` and `small` together (docs/clustering.md, tools/benchmarks/counting.py).
WEIGHTS = Weights(constant=0.65, of_own=0.41, by_own=0.29, of_usual=0.39, by_usual=0.08)


class Shares(NamedTuple):
    """How far two clusters are on the way from the similarity of two people, 0, to that of one voice, 1.

    Attributes:
        of_own: one voice of this recording.
        of_usual: one voice of usual recordings.
    """

    of_own: float
    of_usual: float


@dataclass(frozen=True)
class OneVoice:
    """What is known of an embedding.

    Attributes:
        same: mean cosine of two windows of one utterance.
        different: mean cosine of windows of different people.
    """

    same: float
    different: float

    def shares(self, cosine: float, within: float) -> Shares:
        """Of two clusters.

        Args:
            cosine: mean cosine of the two.
            within: mean cosine of two windows of one speaker in this recording.
        """
        usual, own = ((value - self.different) / (self.same - self.different) for value in (cosine, within))
        return Shares(of_own=usual / max(own, _LEAST_OWN), of_usual=usual)


def tells_voices_apart(calibration: Mapping[str, float]) -> bool:
    """Whether a model's calibration has the cosines, and they are far enough apart."""
    if not calibration.keys() >= COSINES:
        return False
    return calibration["same_cosine"] - calibration["different_cosine"] >= _LEAST_DIFFERENCE


def known_cosines(calibration: Mapping[str, float]) -> dict[str, float]:
    """Settings of `sdpn.clustering.merging` by a model's calibration; none where it tells nothing."""
    return {name: calibration[name] for name in sorted(COSINES)} if tells_voices_apart(calibration) else {}


def two_voices(
    of_own: npt.ArrayLike, of_usual: npt.ArrayLike, is_second: npt.ArrayLike, weights: Weights = WEIGHTS
) -> np.ndarray:
    """Log odds that two clusters are two speakers, which add to those by the recording.

    Args:
        of_own: their `Shares`, of any shape.
        of_usual: likewise.
        is_second: whether there is one speaker if they are one.
        weights: how similarity becomes odds.
    """
    own = np.logaddexp(0.0, (np.asarray(of_own) - weights.of_own) / weights.by_own)
    usual = np.logaddexp(0.0, (np.asarray(of_usual) - weights.of_usual) / weights.by_usual)
    return np.asarray(weights.constant - own - np.where(is_second, usual, 0.0))
