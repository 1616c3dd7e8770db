"""Label-free calibration of a trained model: from which similarity on are two windows one speaker?

Two windows of one utterance are one speaker; two windows of different utterances of a corpus of many speakers
almost never are. The two distributions of similarities are what a clustering threshold has to separate, and
they need no label.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder

_log = logging.getLogger(__name__)

#: Length of the windows: that of diarization.
_WINDOW_S = 1.5
#: Utterances that are looked at; more do not change the second decimal.
_NUM_UTTERANCES = 400
#: Fewer pairs than this say nothing about a threshold.
_FEWEST = 20


def calibrate(model: Embedder, utterances: Sequence[Utterance], *, seed: int) -> dict[str, float]:
    """Measure what clustering needs to know about a model.

    Args:
        model: the model.
        utterances: speech of many speakers, for example what the model was trained on.
        seed: of the choice of utterances.

    Returns:
        ``ahc_threshold``: the cosine at which as many windows of one utterance fall below as windows of
        different utterances reach; and the means of both kinds, ``same_cosine`` and ``different_cosine``.
        Empty where there are too few utterances of two windows.

    Raises:
        InputError: an utterance cannot be read.
    """
    early, late = [], []
    for index in np.random.default_rng(seed).permutation(len(utterances)):
        if len(early) == _NUM_UTTERANCES:
            break
        wave = utterances[index].read()
        duration_s = len(wave) / RATE_HZ
        if duration_s < 2 * _WINDOW_S or not wave.any():
            continue
        windows = np.array([[0.0, _WINDOW_S], [duration_s - _WINDOW_S, duration_s]])
        first, last = model.embed_windows(wave, windows)
        early.append(first / np.linalg.norm(first))
        late.append(last / np.linalg.norm(last))
    if len(early) < _FEWEST:
        _log.warning(
            "only %d utterances of %.0f s or more: the model gets no clustering threshold of its own",
            len(early),
            2 * _WINDOW_S,
        )
        return {}
    cosine_NN = np.stack(early) @ np.stack(late).T
    same_N = np.sort(np.diag(cosine_NN))
    different_M = np.sort(cosine_NN[~np.eye(len(cosine_NN), dtype=bool)])
    return {
        "ahc_threshold": float(_crossing(same_N, different_M)),
        "same_cosine": float(same_N.mean()),
        "different_cosine": float(different_M.mean()),
    }


def _crossing(same_N: np.ndarray, different_M: np.ndarray) -> float:
    """Threshold of equal error rates, given both kinds of similarity in ascending order."""
    candidates = np.concatenate([same_N, different_M])
    misses = np.searchsorted(same_N, candidates, side="left") / len(same_N)
    false_alarms = 1 - np.searchsorted(different_M, candidates, side="left") / len(different_M)
    return float(candidates[np.abs(misses - false_alarms).argmin()])
