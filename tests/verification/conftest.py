"""Embeddings of a known model: speakers and utterances that differ as PLDA supposes."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.verification.back_end import BackEnd
from sdpn.verification.learn_back_end import LearningConfig, learn_back_end

DIMENSION = 6
UTTERANCES = 400


@pytest.fixture(scope="session")
def parts() -> np.ndarray:
    """(N, P, D): utterances of as many speakers, in two parts."""
    rng = np.random.default_rng(0)
    voice = rng.normal(size=(UTTERANCES, 1, DIMENSION)) * np.linspace(2, 0.5, DIMENSION)
    noise = rng.normal(size=(UTTERANCES, 2, DIMENSION)) * np.linspace(0.3, 1, DIMENSION)
    return (voice + noise + 1).astype(np.float32)


@pytest.fixture(scope="session")
def back_end(parts: np.ndarray) -> BackEnd:
    return learn_back_end(parts.mean(axis=1), parts, LearningConfig(cohort=60, top=20, shrinkage=0.0))
