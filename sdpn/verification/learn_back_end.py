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
from sdpn.verification.strangers import normalising_half, stranger_quantiles


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
    corpora_N: np.ndarray | None = None,
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
        corpora_N: corpus of each utterance (`sdpn.verification.strangers`); None: all are of one.

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
    normalising_CD, half_top = normalising_half(cohort_CD, len(chosen), top)
    rest = np.setdiff1d(np.arange(len(whole_ND)), chosen[len(chosen) // 2 :])
    strangers = stranger_quantiles(
        plda_similarity(whole_ND[rest], mean_D, plda),
        plda_similarity(normalising_CD, mean_D, plda),
        top=half_top,
        rng=rng,
        corpora_N=None if corpora_N is None else corpora_N[rest],
        classes_N=None if classes_N is None else classes_N[rest],
    )
    return BackEnd(mean_D, plda, cohort_CD, top, strangers)


def _as_stored(plda: Plda) -> Plda:
    return Plda(*(part.astype(np.float32) for part in (plda.mean_D, plda.transform_ED, plda.psi_E)))
