"""The calibrated posterior of the number of speakers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.clustering.count_calibration import COUNT_ODDS, TERMS, CountEvidence, calibrated_counts, count_terms
from sdpn.clustering.merging import Merging, chosen_count


def evidence(
    posterior: list[float], found: int, contrast: float = 0.35, windows: float = 150
) -> CountEvidence:
    posterior_K = np.array(posterior)
    return CountEvidence(posterior_K / posterior_K.sum(), found, contrast, windows)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=100).filter(lambda chances: sum(chances) > 1e-3),
    st.integers(1, 100),
    st.floats(-1, 2),
    st.floats(0, 1e6),
)
def test_probabilities_of_admissible_numbers(
    chances: list[float], found: int, contrast: float, windows: float
) -> None:
    given = evidence(chances, found, contrast, windows)
    counts_K = calibrated_counts(given)
    assert counts_K.sum() == pytest.approx(1.0)
    assert (counts_K >= 0).all()
    assert (counts_K[given.posterior_K == 0] == 0).all()


def test_without_further_terms_it_is_the_posterior() -> None:
    given = evidence([0.1, 0.6, 0.3], found=2)
    np.testing.assert_allclose(calibrated_counts(given, np.eye(len(TERMS))[0]), given.posterior_K)


def test_more_than_were_found_are_less_probable_than_the_posterior_has_them() -> None:
    for found in (1, 2):
        given = evidence([0.3, 0.4, 0.3], found)
        assert calibrated_counts(given)[found:].sum() < given.posterior_K[found:].sum()


def test_well_separated_voices_are_surer() -> None:
    chances = [0.1, 0.2, 0.5, 0.2]
    sure = [calibrated_counts(evidence(chances, 3, contrast))[2] for contrast in (0.15, 0.35, 0.55)]
    assert sure[0] < sure[1] < sure[2]


def test_terms() -> None:
    terms_KT = count_terms(evidence([0.25, 0.5, 0.25], found=2, contrast=0.45, windows=np.exp(5)))
    assert terms_KT.shape == (3, len(TERMS)) == (3, len(COUNT_ODDS))
    of = dict(zip(TERMS, terms_KT.T, strict=True))
    np.testing.assert_allclose(of["posterior"], np.log([0.25, 0.5, 0.25]))
    np.testing.assert_allclose(of["posterior by contrast"], np.log([0.25, 0.5, 0.25]))
    np.testing.assert_allclose(of["posterior by length"], 0.0, atol=1e-12)
    np.testing.assert_allclose(of["found"], [0, 1, 0])
    np.testing.assert_allclose(of["more"], [0, 0, np.log(1.5)])
    np.testing.assert_allclose(of["fewer"], [np.log(2), 0, 0])


def test_it_changes_no_number_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    emb_ND = np.repeat(rng.normal(size=(3, 16)), 40, axis=0) + 0.8 * rng.normal(size=(120, 16))
    times_N2 = np.arange(120)[:, None] * 0.75 + np.array([0.0, 1.5])
    usual = Merging().fit_predict(emb_ND, times_N2=times_N2)
    seen: list[CountEvidence] = []

    def surprised(_self: Merging, given: CountEvidence) -> np.ndarray:
        seen.append(given)
        return np.eye(len(given.posterior_K))[-1]

    monkeypatch.setattr(Merging, "calibrated", surprised)
    np.testing.assert_array_equal(Merging().fit_predict(emb_ND, times_N2=times_N2).labels_N, usual.labels_N)
    (given,) = seen
    assert given.found == usual.num_speakers <= chosen_count(given.posterior_K, "median")
    assert given.windows == pytest.approx(120)
