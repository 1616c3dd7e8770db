"""The clustering threshold of a trained model, measured without labels.

Two windows of one utterance have the same speaker; two windows of different utterances of a large corpus
almost never do. A clustering threshold has to separate these two distributions of similarities.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder

_log = logging.getLogger(__name__)

#: Length of the windows: that of diarization.
_WINDOW_S = 1.5
#: Number of utterances used; more do not change the second decimal.
_NUM_UTTERANCES = 400
#: Where between both means the threshold lies. On simulated conversations of training speakers, with an SDPN
#: of 1,800 steps (means 0.46 and 0.00), thresholds of 0.25 and 0.27 were best, for conversations of 30 s and
#: of 90 s, with speech detected and given.
_SHARE = 0.55
#: Minimum number of pairs for estimating a threshold.
_FEWEST = 20


def measure_clustering_threshold(
    model: Embedder, utterances: Sequence[Utterance], *, seed: int, channel: int | None = None
) -> dict[str, float]:
    """Measure the cosine threshold for clustering windows of a recording.

    Args:
        model: the model.
        utterances: speech of many speakers, for example the training data. Unreadable utterances are left
            out.
        seed: random seed for the choice of utterances.
        channel: channel of multichannel files, as in training; None averages all.

    Returns:
        ``same_cosine`` and ``different_cosine``, the mean similarities of two windows of one utterance and of
        different utterances, and ``ahc_threshold``, slightly above their midpoint: clusters are compared by
        mean similarities, and the speakers of one recording share its room. Empty if too few utterances are
        long enough for two windows.
    """
    order = np.random.default_rng(seed).permutation(len(utterances))
    early: list[np.ndarray] = []
    late: list[np.ndarray] = []
    for each in embed_corpus(
        model,
        [utterances[index] for index in order],
        windows=_first_and_last,
        channel=channel,
        on_error=_leave_out,
    ):
        if not len(each.embeddings_ND):
            continue
        first, last = each.embeddings_ND
        early.append(first / np.linalg.norm(first))
        late.append(last / np.linalg.norm(last))
        if len(early) == _NUM_UTTERANCES:
            break
    if len(early) < _FEWEST:
        _log.warning(
            "only %d utterances of %.0f s or more: the clustering threshold of the model is not calibrated",
            len(early),
            2 * _WINDOW_S,
        )
        return {}
    cosine_NN = np.stack(early) @ np.stack(late).T
    same = float(np.diag(cosine_NN).mean())
    different = float(cosine_NN[~np.eye(len(cosine_NN), dtype=bool)].mean())
    return {
        "ahc_threshold": different + _SHARE * (same - different),
        "same_cosine": same,
        "different_cosine": different,
    }


def _first_and_last(wave_S: np.ndarray, _index: int) -> np.ndarray:
    """First and last window, (2, 2); (0, 2) if the utterance is silent or too short for both."""
    duration_s = len(wave_S) / RATE_HZ
    if duration_s < 2 * _WINDOW_S or not wave_S.any():
        return np.zeros((0, 2))
    return np.array([[0.0, _WINDOW_S], [duration_s - _WINDOW_S, duration_s]])


def _leave_out(_utterance: Utterance, _error: InputError) -> None:
    """Skip an unreadable file silently: the data loader reports it."""
