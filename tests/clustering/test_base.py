"""What every registered clusterer must keep, on inputs with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.base import by_first_appearance, speaker_bounds
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.errors import InputError


def cluster(name: str, emb: np.ndarray, **counts: int | None) -> np.ndarray:
    """Labels that the clusterer ``name`` gives with its defaults."""
    return make_clusterer(name).fit_predict(emb, **counts).labels_N  # type: ignore[arg-type]


every_clusterer = pytest.mark.parametrize("name", sorted(CLUSTERERS))


def speakers(
    counts: list[int], *, seed: int = 0, noise: float = 0.15, dim: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around orthogonal directions, shuffled, and their true speakers."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(dim, dim)))[0][: len(counts)]
    truth = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    lengths = rng.uniform(0.1, 30.0, size=(len(truth), 1))  # a cosine does not see them
    return lengths * (directions[truth] + noise * rng.normal(size=(len(truth), dim)) / np.sqrt(dim)), truth


@every_clusterer
@pytest.mark.parametrize("num", [1, 2, 3, 20])
def test_finds_the_number_of_speakers_and_who_they_are(name: str, num: int) -> None:
    emb, truth = speakers([15 + 2 * index for index in range(num)])
    labels = cluster(name, emb)
    assert adjusted_rand_score(truth, labels) == 1.0
    assert labels.max() + 1 == num


@every_clusterer
def test_large_recording(name: str) -> None:
    """Above 500 windows the spectral clusterer takes another eigensolver."""
    emb, truth = speakers([400, 150, 50])
    assert adjusted_rand_score(truth, cluster(name, emb)) == 1.0


@every_clusterer
def test_a_given_number_wins_over_the_estimate_and_over_the_bounds(name: str) -> None:
    emb, _ = speakers([20, 20, 20])
    for num in (1, 2, 4, 7, 60):
        labels = cluster(name, emb, num_speakers=num, min_speakers=2, max_speakers=3)
        assert sorted(set(labels)) == list(range(num))


@every_clusterer
def test_bounds_are_respected(name: str) -> None:
    emb, _ = speakers([20, 20, 20])
    assert cluster(name, emb, max_speakers=2).max() + 1 == 2
    assert cluster(name, emb, min_speakers=5).max() + 1 >= 5
    assert cluster(name, emb, min_speakers=4, max_speakers=4).max() + 1 == 4
    assert cluster(name, emb, min_speakers=2, max_speakers=10).max() + 1 == 3
    assert cluster(name, emb, min_speakers=60).max() + 1 == 60


@every_clusterer
def test_one_and_two_windows(name: str) -> None:
    assert cluster(name, np.array([[1.0, 0.0]])).tolist() == [0]
    assert cluster(name, np.array([[1.0, 0.0]]), max_speakers=3).tolist() == [0]
    same = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert cluster(name, same).tolist() == [0, 0]
    assert cluster(name, same, num_speakers=2).tolist() == [0, 1]
    assert cluster(name, np.eye(2), num_speakers=1).tolist() == [0, 0]
    assert cluster(name, np.eye(2), min_speakers=2).tolist() == [0, 1]


@every_clusterer
@pytest.mark.parametrize("rows", [2, 3, 30, 600])
def test_identical_rows_are_one_speaker_unless_more_are_asked_for(name: str, rows: int) -> None:
    emb = np.ones((rows, 8))
    assert set(cluster(name, emb)) == {0}
    assert set(cluster(name, emb, num_speakers=2)) == {0, 1}


@every_clusterer
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_bad_rows_are_named(name: str, bad: float) -> None:
    emb, _ = speakers([10, 10])
    emb[[7, 12]] = bad
    with pytest.raises(InputError, match=r"row 7 .*1 more"):
        cluster(name, emb, num_speakers=2)


@every_clusterer
@pytest.mark.parametrize("size", [1e-300, 3e38, 1.7e308])
def test_extreme_sizes_have_the_same_directions(name: str, size: float) -> None:
    """Every second row as long or as short as numbers get; and one value that outweighs its row."""
    emb, truth = speakers([12, 14, 16])
    emb[::2] *= size / np.abs(emb).max()
    assert adjusted_rand_score(truth, cluster(name, emb)) == 1.0
    emb[7, 3] = size
    clustering = make_clusterer(name).fit_predict(emb)
    assert clustering.posteriors_NK is None or np.isfinite(clustering.posteriors_NK).all()


@every_clusterer
def test_impossible_counts(name: str) -> None:
    emb, _ = speakers([2, 1])
    with pytest.raises(InputError, match=r"4 speakers are requested.*3 windows .*at most 3"):
        cluster(name, emb, num_speakers=4)
    with pytest.raises(InputError, match="at most 3"):
        cluster(name, emb, min_speakers=4)
    with pytest.raises(InputError, match=r"only 1 window "):
        cluster(name, emb[:1], num_speakers=2)
    with pytest.raises(InputError, match="min_speakers is 3, above max_speakers, which is 2"):
        cluster(name, emb, min_speakers=3, max_speakers=2)
    with pytest.raises(InputError, match="is 0; expected at least 1"):
        cluster(name, emb, num_speakers=0)
    with pytest.raises(InputError, match="no embeddings"):
        cluster(name, emb[:0])


@every_clusterer
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_labels_contract(name: str, data: st.DataObject) -> None:
    """Any rows, repeated ones among them: the bounds hold, labels are contiguous and appear in order."""
    distinct = data.draw(st.integers(1, 12))
    rows = data.draw(st.lists(st.integers(0, distinct - 1), min_size=1, max_size=24))
    emb = np.random.default_rng(distinct).normal(size=(distinct, 3))[rows]
    low = data.draw(st.integers(1, len(rows)))
    high = data.draw(st.integers(low, len(rows) + 3))
    num = data.draw(st.none() | st.integers(1, len(rows)))
    labels = cluster(name, emb, num_speakers=num, min_speakers=low, max_speakers=high)
    assert labels.shape == (len(rows),)
    assert labels.dtype == np.int64
    count = labels.max() + 1
    assert count == num if num is not None else low <= count <= high
    _, first = np.unique(labels, return_index=True)
    assert len(first) == count
    assert (np.diff(first) > 0).all()
    again = cluster(name, emb, num_speakers=num, min_speakers=low, max_speakers=high)
    assert (labels == again).all()


@every_clusterer
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), counts=st.lists(st.integers(6, 15), min_size=1, max_size=4))
def test_the_order_of_the_rows_does_not_matter(name: str, seed: int, counts: list[int]) -> None:
    if name == "hdbscan":  # where a speaker is smaller than its smallest, ties decide, and they have an order
        counts = [2 * count for count in counts]
    emb, _ = speakers(counts, seed=seed, noise=0.5)
    order = np.random.default_rng(seed).permutation(len(emb))
    assert adjusted_rand_score(cluster(name, emb)[order], cluster(name, emb[order])) == 1.0


def test_by_first_appearance() -> None:
    assert by_first_appearance(np.array([7, 7, 2, 9, 2, 0])).tolist() == [0, 0, 1, 2, 1, 3]


def test_speaker_bounds_without_a_maximum_end_at_the_number_of_windows() -> None:
    assert speaker_bounds(9, num_speakers=None, min_speakers=1, max_speakers=None) == (1, 9)
    assert speaker_bounds(9, num_speakers=None, min_speakers=2, max_speakers=30) == (2, 9)
    assert speaker_bounds(9, num_speakers=4, min_speakers=1, max_speakers=2) == (4, 4)


def test_unknown_clusterer_and_settings_are_named() -> None:
    with pytest.raises(
        InputError,
        match=r"unknown clusterer 'birch'.*ahc, spectral, nmesc, kmeans, hdbscan, vbx, consensus, merging",
    ):
        make_clusterer("birch")
    with pytest.raises(InputError, match=r"treshold.*did you mean 'threshold'"):
        make_clusterer("ahc", {"treshold": 0.3})
    with pytest.raises(InputError, match=r"threshold is 3\.0"):
        make_clusterer("ahc", {"threshold": 3})
