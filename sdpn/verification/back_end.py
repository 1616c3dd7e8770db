"""A back end for verification: PLDA, then AS-norm, with everything that both need.

Shapes: M utterances, N trials, C cohort utterances, D embedding, Q quantiles.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sdpn.errors import InputError
from sdpn.verification.plda import Plda
from sdpn.verification.similarity import Similarity, unit_rows
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials


@dataclass(frozen=True, eq=False)
class BackEnd:
    """Turns the embeddings of a model into scores of trials.

    An embedding loses the mean and is scaled to length 1 (Garcia-Romero and Espy-Wilson, Interspeech 2011),
    PLDA gives the log-likelihood ratio of a trial, and AS-norm says how many standard deviations that is
    above what strangers reach. The first two learned what they know from one model: embeddings of another
    give nonsense.

    Attributes:
        mean_D: what is subtracted first.
        plda: of embeddings without that mean, of length 1.
        cohort_CD: embeddings of the strangers of AS-norm.
        top: how many of the strangers most like an utterance it is normalised by.
        strangers_Q: quantiles 0, 1/(Q-1), …, 1 of the scores of pairs of different utterances of the
            speech that all this was learned from.
        model: digest of the weights that it was learned with (`sdpn.models.weights.weights_digest`); None
            where nobody knows.
    """

    mean_D: np.ndarray
    plda: Plda
    cohort_CD: np.ndarray
    top: int
    strangers_Q: np.ndarray
    model: str | None = None

    def refuse_other_model(self, model: str | None, *, path: str | os.PathLike[str] | None) -> None:
        """Make sure that it was learned with a model, as far as that is known.

        Args:
            model: digest of the weights of that model; None where nobody knows.
            path: the model or its embeddings, for the message.

        Raises:
            InputError: it was learned with another one.
        """
        if self.model is not None and model is not None and self.model != model:
            raise InputError(
                "is not of the model that the back end was learned with",
                path=path,
                hint="take the back end of this model, learn one with 'sdpn backend', or score by the cosine",
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
            float64 (N,): standard deviations above strangers, higher for more alike.

        Raises:
            InputError: embeddings of another dimension, not finite, or equal to the mean.
        """
        utterances = self.similarity(emb_MD)
        means, deviations = cohort_statistics(utterances, self._cohort, top=self.top)
        scores = score_trials(utterances, first, second)
        return as_norm(scores, first, second, means, deviations)

    def similarity(self, emb_MD: np.ndarray) -> Similarity:
        """The PLDA's log-likelihood ratios in nats, before AS-norm.

        Raises:
            InputError: as in `score`.
        """
        return plda_similarity(emb_MD, self.mean_D, self.plda)

    def threshold(self, false_alarms: float) -> float:
        """The score that this share of strangers reaches.

        Args:
            false_alarms: in (0, 1). Pairs of one speaker, which nobody has taken out of the speech that
                this was learned from, make small shares a little too strict.
        """
        return float(np.quantile(self.strangers_Q, 1 - false_alarms))

    def strangers_reaching(self, score: float) -> float:
        """Share of strangers who reach a score, in [0, 1]."""
        places = np.linspace(0, 1, len(self.strangers_Q))
        return float(1 - np.interp(score, self.strangers_Q, places, left=0.0, right=1.0))

    @cached_property
    def _cohort(self) -> Similarity:
        return self.similarity(self.cohort_CD)


def plda_similarity(emb_MD: np.ndarray, mean_D: np.ndarray, plda: Plda) -> Similarity:
    """Log-likelihood ratios of embeddings that lose a mean and get the length 1.

    Raises:
        InputError: embeddings of another dimension, not finite, or equal to the mean.
    """
    if emb_MD.ndim != 2 or emb_MD.shape[1] != len(mean_D):
        raise InputError(
            f"the back end is of embeddings of {len(mean_D)} dimensions, these have {emb_MD.shape[-1]}",
            hint="a back end belongs to the model that it was learned with",
        )
    return plda.similarity(unit_rows(emb_MD.astype(np.float64) - mean_D))
