"""Clusters of a corpus: counts found by silhouettes, on planted speakers of unequal size."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_samples, silhouette_score

from sdpn.clustering.pseudo_labels import PseudoLabels, pseudo_labels
from sdpn.errors import InputError


def _speakers(sizes: list[int], *, spread: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres_KD = rng.standard_normal((len(sizes), 16))
    centres_KD /= np.linalg.norm(centres_KD, axis=1, keepdims=True)
    speaker_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return centres_KD[speaker_N] + spread * rng.standard_normal((len(speaker_N), 16)), speaker_N


@pytest.mark.parametrize("method", ["kmeans", "ahc"])
def test_speakers_of_unequal_size_are_found(method: str) -> None:
    emb_ND, speaker_N = _speakers([40, 20, 20, 5, 5, 4, 3])
    found = pseudo_labels(emb_ND, method=method, counts=range(2, 20))  # type: ignore[arg-type]
    assert found.count == 7 and adjusted_rand_score(speaker_N, found.labels_N) == 1.0


def test_silhouettes_are_those_of_scikit_learn() -> None:
    emb_ND, _ = _speakers([10] * 4, spread=0.3)
    found = pseudo_labels(emb_ND * np.linspace(1, 9, 40)[:, None])  # lengths do not count
    expected = silhouette_score(emb_ND, found.labels_N, metric="cosine")
    assert found.silhouettes[found.count] == pytest.approx(expected)


def test_the_count_is_the_last_before_the_silhouette_is_a_standard_error_below_its_best() -> None:
    emb_ND, _ = _speakers([10] * 8, spread=0.3, seed=1)
    counts = list(range(4, 30))
    found = pseudo_labels(emb_ND, counts=counts)
    best = max(counts, key=lambda count: found.silhouettes[count])
    labels_N = pseudo_labels(emb_ND, counts=[best]).labels_N
    samples_N = silhouette_samples(emb_ND, labels_N, metric="cosine")
    enough = samples_N.mean() - samples_N.std() / np.sqrt(80)
    expected = best
    while found.silhouettes[expected + 1] >= enough:
        expected += 1
    assert found.count == expected > best


def test_centroids_of_a_finer_partition_are_merged_by_their_weight() -> None:
    emb_ND, speaker_N = _speakers([30, 20, 10, 5])
    fine_N = speaker_N * 10 + np.random.default_rng(1).integers(3, size=len(speaker_N))
    found = pseudo_labels(emb_ND, points_N=fine_N, counts=[2, 3, 4, 5])
    assert adjusted_rand_score(speaker_N, found.labels_N) == 1.0


def test_the_grid_begins_above_the_coarsest_partition() -> None:
    """Two heaps of five speakers each: two clusters would have the best silhouette."""
    emb_ND, _ = _speakers([8] * 10, spread=0.01)
    heap_N = _speakers([8] * 10, spread=0.01)[1] % 2
    found = pseudo_labels(emb_ND + 3 * np.where(heap_N, 1, -1)[:, None])
    assert min(found.silhouettes) == 9 and max(found.silhouettes) <= 40
    assert silhouette_score(emb_ND + 3 * np.where(heap_N, 1, -1)[:, None], heap_N, metric="cosine") > max(
        found.silhouettes.values()
    )


def test_one_count_is_taken_as_it_is() -> None:
    found: PseudoLabels = pseudo_labels(_speakers([10] * 3)[0], counts=[5])
    assert found.count == 5 and not found.silhouettes


@pytest.mark.parametrize("counts", [[1], [30], [0, 2]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match="cannot make"):
        pseudo_labels(_speakers([10] * 3)[0], counts=counts)


def test_rows_without_direction_and_too_many_points_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    emb_ND, _ = _speakers([10] * 3)
    monkeypatch.setattr("sdpn.clustering.pseudo_labels.MAX_POINTS", 20)
    with pytest.raises(InputError, match="30 points"):
        pseudo_labels(emb_ND)
    emb_ND[3] = 0
    with pytest.raises(InputError):
        pseudo_labels(emb_ND, points_N=np.arange(30) % 10)
