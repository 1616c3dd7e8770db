"""Powerset classes: each class of a frame is a set of speakers who speak at the same time.

With them, a network decides about overlap as about any other class, without a threshold.

Source: Plaquet and Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization",
Interspeech 2023, arXiv 2310.13025.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np


def num_classes(num_speakers: int, max_together: int) -> int:
    """Number of sets of at most ``max_together`` of ``num_speakers`` speakers, the empty set included."""
    return sum(comb(num_speakers, size) for size in range(max_together + 1))


def membership(num_speakers: int, max_together: int) -> np.ndarray:
    """Who speaks in each class, (classes, speakers) float32 of 0 and 1.

    Sets are in the order of their size, and sets of one size in lexical order, as in pyannote.audio: for
    three speakers of whom two may speak together {}, {1}, {2}, {3}, {1, 2}, {1, 3}, {2, 3}.
    """
    sets = [chosen for size in range(max_together + 1) for chosen in combinations(range(num_speakers), size)]
    member_CS = np.zeros((len(sets), num_speakers), dtype=np.float32)
    for row_S, chosen in zip(member_CS, sets, strict=True):
        row_S[list(chosen)] = 1.0
    return member_CS


def reaches(member_CS: np.ndarray, max_together: int) -> np.ndarray:
    """Whether at least 1, 2, ... ``max_together`` speak in each class, (classes, max_together) float32."""
    together: np.ndarray = member_CS.sum(axis=1, keepdims=True) >= np.arange(1, max_together + 1)
    return together.astype(np.float32)
