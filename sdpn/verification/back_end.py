"""A back end for verification: PLDA, then AS-norm, with all their parameters.

Shapes: M utterances, N trials, C cohort utterances, D embedding, Q quantiles.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sdpn.errors import InputError
from sdpn.verification.calibration import Calibration
from sdpn.verification.plda import Plda
from sdpn.verification.similarity import Similarity, unit_rows
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials


@dataclass(frozen=True, eq=False)
class BackEnd:
    """Scores trials between embeddings of a model.

    The mean is subtracted from embeddings, which are then scaled to length 1 (Garcia-Romero and Espy-Wilson,
    Interspeech 2011); PLDA gives the log-likelihood ratio of a trial, and AS-norm expresses it in standard
    deviations above the scores of different speakers. The back end is specific to the model that it was
    trained with.

    Attributes:
        mean_D: mean that is subtracted first.
        plda: PLDA of centred embeddings of length 1.
        cohort_CD: embeddings of the AS-norm cohort.
        top: number of most similar cohort members used to normalise an utterance.
        strangers_Q: quantiles 0, 1/(Q-1), …, 1 of the scores of different speakers of one corpus
            (`sdpn.verification.strangers`).
        model: digest of the weights that it was trained with (`sdpn.models.weights.weights_digest`); None if
            unknown.
        calibration: scores to log-likelihood ratios (`sdpn verify --save-calibration`); None if unknown.
    """

    mean_D: np.ndarray
    plda: Plda
    cohort_CD: np.ndarray
    top: int
    strangers_Q: np.ndarray
    model: str | None = None
    calibration: Calibration | None = None

    def refuse_other_model(self, model: str | None, *, path: str | os.PathLike[str] | None) -> None:
        """Check that it was trained with a given model, if that is recorded.

        Args:
            model: digest of the weights of that model; None if unknown.
            path: the model or its embeddings, for the message.

        Raises:
            InputError: it was trained with another one.
        """
        if self.model is not None and model is not None and self.model != model:
            raise InputError(
                "does not belong to the model that the back end was trained with",
                path=path,
                hint="use the back end of this model, train one with 'sdpn backend', or score by the cosine",
            )

    @property
    def embedding_dim(self) -> int:
        """D."""
        return len(self.mean_D)

    def score(self, emb_MD: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Score trials between embeddings.

        Args:
            emb_MD: embeddings (M, D).
            first: index of the first utterance of each trial, integer (N,).
            second: that of the second.

        Returns:
            float64 (N,): standard deviations above the scores of different speakers, higher for more similar.

        Raises:
            InputError: embeddings of another dimension, not finite, or equal to the mean.
        """
        utterances = self.similarity(emb_MD)
        means, deviations = cohort_statistics(utterances, self.cohort, top=self.top)
        scores = score_trials(utterances, first, second)
        return as_norm(scores, first, second, means, deviations)

    def similarity(self, emb_MD: np.ndarray) -> Similarity:
        """The PLDA's log-likelihood ratios in nats, before AS-norm.

        Raises:
            InputError: as in `score`.
        """
        return plda_similarity(emb_MD, self.mean_D, self.plda)

    def threshold(self, false_alarms: float) -> float:
        """The score that this share of different-speaker pairs reaches.

        Args:
            false_alarms: in (0, 1).
        """
        return float(np.quantile(self.strangers_Q, 1 - false_alarms))

    def strangers_reaching(self, score: float) -> float:
        """Share of different-speaker pairs that reach a score, in [0, 1]."""
        places = np.linspace(0, 1, len(self.strangers_Q))
        return float(1 - np.interp(score, self.strangers_Q, places, left=0.0, right=1.0))

    @cached_property
    def cohort(self) -> Similarity:
        """Similarity of the cohort, computed once."""
        return self.similarity(self.cohort_CD)


def plda_similarity(emb_MD: np.ndarray, mean_D: np.ndarray, plda: Plda) -> Similarity:
    """PLDA log-likelihood ratios of embeddings after centring and length normalisation.

    Raises:
        InputError: embeddings of another dimension, not finite, or equal to the mean.
    """
    if emb_MD.ndim != 2 or emb_MD.shape[1] != len(mean_D):
        raise InputError(
            f"the back end expects embeddings of {len(mean_D)} dimensions, these have {emb_MD.shape[-1]}",
            hint="a back end only fits the model that it was trained with",
        )
    return plda.similarity(unit_rows(emb_MD.astype(np.float64) - mean_D))
