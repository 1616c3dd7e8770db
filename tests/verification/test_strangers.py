"""The share of strangers who are as similar, on generated voices whose speakers are known."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.verification.back_end import BackEnd
from sdpn.verification.learn_back_end import LearningConfig, learn_back_end

DIMENSION = 16


def utterances(seed: int, voices: int, each: int = 1, *, kind: float = 0.0) -> np.ndarray:
    """(N, 2, D): parts of utterances, ``each`` of every voice; ``kind`` is what all voices have in common."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(voices, DIMENSION))
    own += kind * np.linspace(1, -1, DIMENSION)
    noise = 0.3 * rng.normal(size=(voices * each, 2, DIMENSION))
    return (np.repeat(own, each, axis=0)[:, None] + noise).astype(np.float32)


def false_alarms(back_end: BackEnd, corpus_NPD: np.ndarray, share: float) -> float:
    """The share of pairs of different voices that reach the threshold for a share."""
    first, second = np.triu_indices(len(corpus_NPD), 1)
    scores = back_end.score(corpus_NPD.mean(axis=1), first, second)
    return float((scores >= back_end.threshold(share)).mean())


@pytest.mark.parametrize("share", [0.05, 0.02, 0.01])
def test_strangers_of_one_corpus_decide(share: float) -> None:
    parts = np.concatenate([utterances(1, 1080), utterances(2, 60, kind=1.0)])
    config = LearningConfig(cohort=400, top=100)
    whole = parts.mean(axis=1)
    mixed = learn_back_end(whole, parts, config)
    known = learn_back_end(whole, parts, config, corpora_N=np.repeat([0, 1], [1080, 60]))
    unseen = utterances(3, 300, kind=1.0)
    assert false_alarms(mixed, unseen, share) > 2 * share, "otherwise this proves nothing"
    assert 0.2 * share < false_alarms(known, unseen, share) < share


def test_pairs_of_one_speaker_do_not_raise_the_threshold() -> None:
    voices = utterances(4, 100, 6)  # of the pairs, 0.8 % are of one voice
    whole, speakers = voices.mean(axis=1), np.repeat(np.arange(100), 6)
    config = LearningConfig(cohort=200, top=60)
    blind, told = (
        learn_back_end(whole, voices, config),
        learn_back_end(whole, voices, config, classes_N=speakers),
    )
    first, second = np.triu_indices(len(whole), 1)
    contaminated = np.quantile(blind.score(whole, first, second), 0.995)
    assert contaminated > told.threshold(0.005) + 1, "otherwise this proves nothing"
    assert blind.threshold(0.005) == pytest.approx(told.threshold(0.005), abs=0.3)


def test_a_corpus_of_a_few_utterances_is_left_out() -> None:
    parts = np.concatenate([utterances(6, 200), utterances(7, 1, 10)])
    config = LearningConfig(cohort=100, top=30)
    alone, both = (
        learn_back_end(parts.mean(axis=1), parts, config, corpora_N=corpora)
        for corpora in (np.zeros(210), np.repeat([0, 1], [200, 10]))
    )
    assert both.threshold(0.01) == pytest.approx(alone.threshold(0.01), abs=0.5)
