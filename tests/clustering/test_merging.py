"""Merging by evidence: numbers of speakers, given numbers, and the posterior over them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.count_calibration import CountEvidence
from sdpn.clustering.merging import Merging, chosen_count, count_posterior
from sdpn.clustering.recording_model import fit_recording
from sdpn.clustering.speaker_pairs import FEATURES
from sdpn.clustering.vbx import Vbx
from sdpn.diarization.from_embeddings import read_embedded_windows
from sdpn.verification.similarity import cosine
from tests.clustering.conversations import conversation


@pytest.mark.parametrize("num", range(1, 13))
def test_counts_unequal_speakers_who_take_turns(num: int) -> None:
    emb, times, truth = conversation([12 + 8 * k for k in range(num)], within=0.55, between=0.15, seed=num)
    found = Merging().fit_predict(emb, times_N2=times)
    assert found.num_speakers == num
    assert adjusted_rand_score(truth, found.labels_N) > 0.95


def test_counts_where_similarities_overlap() -> None:
    """As over a telephone."""
    emb, times, truth = conversation([40] * 6, within=0.66, between=0.5, seed=0)
    found = Merging().fit_predict(emb, times_N2=times)
    assert abs(found.num_speakers - 6) <= 1
    assert adjusted_rand_score(truth, found.labels_N) > 0.8


@pytest.mark.parametrize("windows", [800, pytest.param(9600, marks=pytest.mark.slow)])
def test_one_speaker_for_ten_minutes_and_for_two_hours(windows: int) -> None:
    """A voice that wanders slowly is no new speaker."""
    emb, times, _ = conversation([windows], within=0.6, between=0.1, seed=0)
    emb += np.cumsum(np.random.default_rng(1).normal(size=emb.shape), axis=0) * 0.002
    assert Merging().fit_predict(emb, times_N2=times).num_speakers <= 2


@pytest.mark.parametrize("num", [20, pytest.param(40, marks=pytest.mark.slow)])
def test_many_speakers(num: int) -> None:
    sizes = np.random.default_rng(3).integers(40, 200 if num == 40 else 80, size=num).tolist()
    emb, times, _ = conversation(sizes, within=0.5, between=0.12, seed=3)
    assert abs(Merging().fit_predict(emb, times_N2=times).num_speakers - num) <= 0.1 * num


@pytest.mark.parametrize("num", [2, 3, 4, 6, 9])
def test_a_given_number_is_kept_and_splits_nobody_it_need_not(num: int) -> None:
    emb, times, truth = conversation([30, 45, 60, 20], within=0.55, between=0.15, seed=5)
    labels = Merging().fit_predict(emb, times_N2=times, num_speakers=num).labels_N
    assert sorted(set(labels)) == list(range(num))
    # with fewer, whole speakers are merged; with more, a cluster has windows of one speaker
    for label in range(num if num >= 4 else 0):
        assert np.bincount(truth[labels == label]).max() >= 0.9 * (labels == label).sum()
    for speaker in range(4 if num <= 4 else 0):
        assert np.bincount(labels[truth == speaker]).max() >= 0.9 * (truth == speaker).sum()


def test_windows_that_overlap_by_five_sixths(shared_data: Path) -> None:
    """The published x-vectors of a meeting of four, 1.44 s long every 0.24 s: one speaker was found."""
    table = shared_data / "xvectors"
    (meeting,) = read_embedded_windows(table / "ES2005a.ark", table / "ES2005a.seg")
    found = Merging().fit_predict(meeting.emb_ND, times_N2=meeting.times_N2)
    assert 4 <= found.num_speakers <= 6


def own_posterior(clusterer: Merging, emb: np.ndarray, times: np.ndarray, **bounds: int) -> np.ndarray:
    """The posterior that decides, before it is calibrated."""
    seen: list[CountEvidence] = []

    def unchanged(_self: Merging, given: CountEvidence) -> np.ndarray:
        seen.append(given)
        return given.posterior_K

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Merging, "calibrated", unchanged)
        clusterer.fit_predict(emb, times_N2=times, **bounds)
    return seen[0].posterior_K


def test_the_posterior_of_the_number() -> None:
    emb, times, _ = conversation([30, 45, 60, 20], within=0.55, between=0.15, seed=5)
    free = Merging().fit_predict(emb, times_N2=times)
    assert free.count_posterior_K is not None
    assert free.count_posterior_K.sum() == pytest.approx(1.0)
    own_K = own_posterior(Merging(), emb, times)
    assert free.num_speakers <= 1 + int((own_K.cumsum() < 0.5).sum())
    counts = free.likely_counts
    assert counts is not None
    assert max(counts, key=counts.__getitem__) == 4
    bounded = Merging().fit_predict(emb, times_N2=times, min_speakers=2, max_speakers=3).count_posterior_K
    assert bounded is not None
    assert np.flatnonzero(bounded).tolist() == [1, 2]
    own_bounded_K = own_posterior(Merging(), emb, times, min_speakers=2, max_speakers=3)
    np.testing.assert_allclose(own_bounded_K[1] / own_bounded_K[2], own_K[1] / own_K[2], rtol=1e-6)
    given = Merging().fit_predict(emb, times_N2=times, num_speakers=3).likely_counts
    assert given == {3: 1.0}
    assert Vbx().fit_predict(emb, times_N2=times).likely_counts is None


def test_prior_odds_ask_for_more_or_fewer() -> None:
    emb, times, _ = conversation([30, 45, 60, 20, 8, 6], within=0.45, between=0.2, seed=6)
    counts = [
        Merging(prior_odds=odds).fit_predict(emb, times_N2=times).num_speakers for odds in (-3.0, 0.0, 3.0)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_the_median_or_the_most_probable_number() -> None:
    assert chosen_count(np.array([0.4, 0.25, 0.35]), "median") == 2
    assert chosen_count(np.array([0.4, 0.25, 0.35]), "probable") == 1
    assert chosen_count(np.array([0.0, 0.5, 0.5]), "probable") == 2
    emb, times, _ = conversation([20, 6, 3, 2, 2], within=0.45, between=0.2, seed=3)
    rules: tuple[Literal["median", "probable"], ...] = ("median", "probable")
    found = {rule: Merging(count=rule).fit_predict(emb, times_N2=times) for rule in rules}
    chosen = {}
    for rule, clustering in found.items():
        chosen[rule] = chosen_count(own_posterior(Merging(count=rule), emb, times), rule)
        assert clustering.num_speakers <= chosen[rule]  # the last step may drop some
    assert chosen["median"] < chosen["probable"]


def test_less_similar_recordings_are_less_sure() -> None:
    sure = []
    for between in (0.1, 0.3, 0.45):
        emb, times, _ = conversation([30, 30, 30], within=0.55, between=between, seed=7)
        posterior = Merging().fit_predict(emb, times_N2=times).count_posterior_K
        assert posterior is not None
        sure.append(posterior.max())
    assert sure[0] > sure[2]


def test_there_is_a_level_for_every_number() -> None:
    emb, times, _ = conversation([20, 20, 20], within=0.55, between=0.15, seed=8)
    model = fit_recording(cosine(emb), times)
    levels = Merging().levels(emb, times, model, low=7)
    assert sorted(levels) == list(range(1, max(levels) + 1))
    assert max(levels) >= 7
    for num, level in levels.items():
        assert sorted(set(level.labels_N)) == list(range(num))
    third, fourth = levels[3].features_F, levels[4].features_F
    assert third is not None
    assert fourth is not None
    assert third[FEATURES.index("loss")] > 1 > fourth[FEATURES.index("loss")]
    assert count_posterior(levels, 0.0).argmax() == 2


@pytest.mark.parametrize(
    "setting",
    [
        {"independence": 0.0},
        {"start": 1.1},
        {"loop_prob": 1.0},
        {"iterations": -1},
        {"prior_odds": float("inf")},
        {"max_start": 0},
        {"count": "mean"},
        {"exact_windows": 1},
    ],
)
def test_settings_out_of_range(setting: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Merging(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("number", [1, 2, 7, 60])
def test_one_sound_again_and_again(noise: float, number: int) -> None:
    """Cosines of windows that are equal up to rounding have no distribution."""
    rng = np.random.default_rng(0)
    emb = (np.ones((number, 16)) + noise * rng.standard_normal((number, 16))).astype(np.float32)
    start = 0.75 * np.arange(number)
    found = Merging().fit_predict(emb, times_N2=np.stack([start, start + 1.5], axis=1))
    assert found.num_speakers == 1
