"""Learning a back end: what it finds again, what it draws, and what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.verification.back_end import BackEnd
from sdpn.verification.learn_back_end import LearningConfig, learn_back_end


def test_it_beats_the_cosine_if_directions_differ_in_information(
    back_end: BackEnd, parts: np.ndarray
) -> None:
    rows = np.concatenate([parts[:, 0], parts[:, 1]])
    index = np.arange(len(parts))
    first, second = np.tile(index, 2), np.r_[index, (index + 7) % len(parts)] + len(parts)
    is_target = np.arange(len(first)) < len(parts)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = (unit[first] * unit[second]).sum(axis=1)
    by_cosine, _ = equal_error_rate(error_rates(cosine, is_target))
    by_back_end, _ = equal_error_rate(error_rates(back_end.score(rows, first, second), is_target))
    assert by_back_end < 0.8 * by_cosine


def test_the_mean_is_that_of_whole_utterances(back_end: BackEnd, parts: np.ndarray) -> None:
    assert back_end.mean_D == pytest.approx(parts.mean(axis=(0, 1)), rel=1e-5)


def test_the_cohort_is_drawn_from_the_utterances(back_end: BackEnd, parts: np.ndarray) -> None:
    known = {tuple(row) for row in parts.mean(axis=1).astype(np.float16)}
    drawn = [tuple(row) for row in back_end.cohort_CD]
    assert len(set(drawn)) == 60 and set(drawn) <= known


def test_a_seed_draws_the_same_and_another_another(parts: np.ndarray) -> None:
    one, again, other = (
        learn_back_end(parts.mean(axis=1), parts, LearningConfig(cohort=60, top=20, seed=seed))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one.cohort_CD, again.cohort_CD) and np.array_equal(
        one.strangers_Q, again.strangers_Q
    )
    assert not np.array_equal(one.cohort_CD, other.cohort_CD)


def test_classes_join_what_utterances_alone_cannot(parts: np.ndarray) -> None:
    """Utterances of one voice differ among themselves; only classes show how."""
    rng = np.random.default_rng(3)
    pairs = np.repeat(parts[:200], 2, axis=0) + 2 * rng.normal(size=(400, 1, 6)) * np.eye(6)[5]
    classes = np.repeat(np.arange(200), 2)
    config = LearningConfig(cohort=60, top=20, shrinkage=0.0)
    alone = learn_back_end(pairs.mean(axis=1), pairs, config)
    joined = learn_back_end(pairs.mean(axis=1), pairs, config, classes_N=classes)

    def worth_of_last_direction(back_end: BackEnd) -> float:
        inverse = np.linalg.inv(back_end.plda.transform_ED)
        between = inverse @ np.diag(back_end.plda.psi_E) @ inverse.T
        return float(between[5, 5] / (inverse @ inverse.T)[5, 5])

    assert worth_of_last_direction(joined) < 0.5 * worth_of_last_direction(alone)


def test_shrinkage_ends_at_the_cosine(parts: np.ndarray) -> None:
    """With all directions alike, PLDA of unit vectors orders pairs as the cosine of centred ones does."""
    whole = parts.mean(axis=1)
    back_end = learn_back_end(whole, parts, LearningConfig(cohort=60, top=20, shrinkage=1.0))
    centred = whole[:50] - back_end.mean_D
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    pairs = np.triu_indices(50, 1)
    by_cosine, by_plda = (unit @ unit.T)[pairs], back_end.similarity(whole[:50]).matrix()[pairs]
    assert np.corrcoef(by_cosine, by_plda)[0, 1] > 0.99999


def test_degraded_copies_are_half_of_the_cohort(parts: np.ndarray) -> None:
    whole = parts.mean(axis=1)
    back_end = learn_back_end(whole, parts, LearningConfig(cohort=60, top=20), degraded_ND=whole + 9)
    clean, degraded = np.split(back_end.cohort_CD.astype(np.float32), 2)
    assert len(clean) == 30 and degraded == pytest.approx(clean + 9, abs=0.02)


def test_too_few_utterances(parts: np.ndarray) -> None:
    with pytest.raises(InputError, match="5 utterances, cut into 2 parts, are too few") as raised:
        learn_back_end(parts[:5].mean(axis=1), parts[:5])
    assert raised.value.hint is not None and "at least 6 utterances" in raised.value.hint


def test_embeddings_that_are_all_alike() -> None:
    with pytest.raises(InputError, match="are equal"):
        learn_back_end(np.ones((20, 3), dtype=np.float32), np.ones((20, 2, 3), dtype=np.float32))


@pytest.mark.parametrize(("cohort", "top"), [(1, 1), (10, 11), (10, 1)])
def test_settings_that_fit_nothing(cohort: int, top: int) -> None:
    with pytest.raises(InputError, match="and top is"):
        LearningConfig(cohort=cohort, top=top)


def test_a_shrinkage_beyond_the_cosine() -> None:
    with pytest.raises(InputError, match=r"shrinkage is 1\.5"):
        LearningConfig(shrinkage=1.5)
