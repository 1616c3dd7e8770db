"""How alike two maps are: the rank correlation of their relevance over patches."""

from __future__ import annotations

import warnings

import numpy as np

from sdpn.explain.methods import RelevanceMap

#: Seconds of relevance that are summed before maps are compared.
_PATCH_S = 0.2


def map_agreement(first: RelevanceMap, second: RelevanceMap) -> float:
    """Spearman's ρ of the relevance of two maps of one utterance, over stretches of 0.2 s.

    Returns:
        a number in [-1, 1]; 0 where a map is constant.
    """
    return spearman(*(over_stretches(one.over_time_T, one.hop_s) for one in (first, second)))


def spearman(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Rank correlation; 0 where it is not defined."""
    from scipy.stats import spearmanr

    if len(first_N) < 3:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant input has no ranks
        return float(np.nan_to_num(spearmanr(first_N, second_N).statistic))


def over_stretches(relevance_T: np.ndarray, hop_s: float) -> np.ndarray:
    """Sums of the relevance of frames over stretches of 0.2 s."""
    frames = max(1, round(_PATCH_S / hop_s))
    summed: np.ndarray = np.add.reduceat(relevance_T, np.arange(0, len(relevance_T), frames))
    return summed
