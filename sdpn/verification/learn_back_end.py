"""Training of a back end on recordings without speaker labels.

Two parts of an utterance have the same speaker, and two utterances of a large corpus almost never. The former
suffices to train a PLDA, the latter give a cohort and the distribution of different-speaker scores.

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

#: Pairs of utterances for the distribution of different-speaker scores.
_PAIRS = 200_000
#: Number of its quantiles that are stored: thousandths.
_QUANTILES = 1001


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """Settings for training a back end.

    Attributes:
        cohort: maximum number of utterances in the cohort, drawn at random from more.
        top: number of most similar cohort utterances that AS-norm uses.
        shrinkage: how far the PLDA is moved towards the cosine (`Plda.shrunk`), in [0, 1].
        seed: random seed.
    """

    cohort: int = 3000
    top: int = 300
    shrinkage: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cohort < 2 or not 2 <= self.top <= self.cohort:
            raise InputError(
                f"cohort is {self.cohort} and top is {self.top}",
                hint="expected 2 <= top <= cohort",
            )
        if not 0 <= self.shrinkage <= 1:
            raise InputError(f"shrinkage is {self.shrinkage:g}; expected 0 to 1")


def learn_back_end(
    whole_ND: np.ndarray,
    parts_NPD: np.ndarray,
    config: LearningConfig | None = None,
    *,
    classes_N: np.ndarray | None = None,
    degraded_ND: np.ndarray | None = None,
) -> BackEnd:
    """Train a back end on the embeddings of utterances and of their parts.

    Args:
        whole_ND: embeddings of utterances.
        parts_NPD: embeddings of the parts of each.
        config: settings; None for the defaults.
        classes_N: speaker of each utterance as far as known, such as pseudo-labels; None treats every
            utterance as a speaker of its own.
        degraded_ND: embeddings of degraded copies of the utterances, which then are half of the cohort: an
            utterance in noise is compared with others in noise.

    Returns:
        the back end, in the precision of its file.

    Raises:
        InputError: too few utterances for the dimension, or all embeddings are equal.
    """
    config = config or LearningConfig()
    rng = np.random.default_rng(config.seed)
    mean_D = whole_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    plda = _as_stored(train_plda_of_parts(parts_NPD, mean_D, classes_N).shrunk(config.shrinkage))
    copies = [whole_ND] if degraded_ND is None else [whole_ND, degraded_ND]
    chosen = rng.permutation(len(whole_ND))[: config.cohort // len(copies)]
    cohort_CD = np.concatenate([rows_ND[chosen] for rows_ND in copies]).astype(np.float16)
    top = min(config.top, len(cohort_CD))
    strangers = _strangers(plda_similarity(cohort_CD, mean_D, plda), len(chosen), top, rng)
    return BackEnd(mean_D, plda, cohort_CD, top, strangers)


def _as_stored(plda: Plda) -> Plda:
    return Plda(*(part.astype(np.float32) for part in (plda.mean_D, plda.transform_ED, plda.psi_E)))


def _strangers(cohort: Similarity, num: int, top: int, rng: np.random.Generator) -> np.ndarray:
    """Quantiles of the scores of pairs of utterances as recorded, float32 (Q,).

    One half of the utterances is normalised by the other and its copies, so that no utterance is in its own
    cohort, with half as many top utterances, so that these are equally similar.

    Args:
        cohort: the ``num`` utterances, then their copies.
        num: number of utterances.
        top: as in `BackEnd`.
        rng: draws the pairs.
    """
    half = num // 2
    utterances = cohort[:half]
    others = cohort[np.flatnonzero(np.arange(len(cohort)) % num >= half)]
    first = rng.integers(half, size=_PAIRS)
    second = (first + rng.integers(1, half, size=_PAIRS)) % half
    means, deviations = cohort_statistics(utterances, others, top=max(2, top // 2))
    scores = as_norm(score_trials(utterances, first, second), first, second, means, deviations)
    return np.quantile(scores, np.linspace(0, 1, _QUANTILES)).astype(np.float32)
