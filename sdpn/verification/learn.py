"""A back end from recordings of which nobody knows who speaks.

Two parts of one utterance have one speaker, and two utterances of a large corpus almost never. The first is
all that PLDA needs to know, the second gives a cohort, and how alike strangers are.

Shapes: N utterances, P parts of each, D embedding, C cohort utterances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.errors import InputError
from sdpn.verification.back_end import BackEnd, plda_similarity
from sdpn.verification.plda import Plda, train_plda_of_parts
from sdpn.verification.similarity import Similarity
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials

#: Pairs of utterances whose scores say how alike strangers are.
_PAIRS = 200_000
#: Quantiles of those that are kept: thousandths.
_QUANTILES = 1001


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a back end is learned.

    Attributes:
        cohort: most utterances in the cohort; drawn where there are more.
        top: how many of them, those most like an utterance, AS-norm looks at.
        seed: of what is drawn.
    """

    cohort: int = 3000
    top: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cohort < 2 or not 2 <= self.top <= self.cohort:
            raise InputError(
                f"a cohort of {self.cohort} and its {self.top} most alike were asked for",
                hint="AS-norm needs at least 2, and no more than the cohort has",
            )


def learn_back_end(
    whole_ND: np.ndarray,
    parts_NPD: np.ndarray,
    config: LearningConfig | None = None,
    *,
    classes_N: np.ndarray | None = None,
) -> BackEnd:
    """Learn from the embeddings of utterances and of their parts.

    Args:
        whole_ND: embeddings of utterances.
        parts_NPD: embeddings of the parts of each.
        config: settings; None for the defaults.
        classes_N: whose each utterance is, as far as it is known, such as pseudo-labels; None takes every
            utterance for a speaker of its own.

    Returns:
        the back end, its numbers already those that its file will hold.

    Raises:
        InputError: too few utterances for the dimension, or embeddings that are all alike.
    """
    config = config or LearningConfig()
    rng = np.random.default_rng(config.seed)
    mean_D = whole_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    plda = _as_stored(train_plda_of_parts(parts_NPD, mean_D, classes_N))
    chosen = rng.permutation(len(whole_ND))[: config.cohort]
    cohort_CD = whole_ND[chosen].astype(np.float16)
    top = min(config.top, len(chosen))
    strangers = _strangers(plda_similarity(cohort_CD, mean_D, plda), top, rng)
    return BackEnd(mean_D, plda, cohort_CD, top, strangers)


def _as_stored(plda: Plda) -> Plda:
    return Plda(*(part.astype(np.float32) for part in (plda.mean_D, plda.transform_ED, plda.psi_E)))


def _strangers(cohort: Similarity, top: int, rng: np.random.Generator) -> np.ndarray:
    """Quantiles of the scores of pairs of utterances, float32 (Q,).

    One half of the cohort is normalised by the other, since nobody is a stranger to himself, and by half as
    many of it, so that they are as much alike.
    """
    half = len(cohort) // 2
    utterances, others = cohort[:half], cohort[half:]
    first = rng.integers(half, size=_PAIRS)
    second = (first + rng.integers(1, half, size=_PAIRS)) % half
    means, deviations = cohort_statistics(utterances, others, top=max(2, top // 2))
    scores = as_norm(score_trials(utterances, first, second), first, second, means, deviations)
    return np.quantile(scores, np.linspace(0, 1, _QUANTILES)).astype(np.float32)
