"""Clusters of a corpus: planted speakers of unequal size, with halves of their utterances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from sdpn.clustering.pseudo_labels import PseudoLabels, pseudo_labels, speaker_rows
from sdpn.errors import InputError

DIMENSION = 16


def speakers(
    sizes: list[int], *, spread: float = 0.05, within: np.ndarray | float = 0.02, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Utterances (N, D), their halves (N, 2, D), and who speaks.

    Args:
        sizes: utterances of each speaker.
        spread: standard deviation of utterances around their speaker.
        within: that of halves around their utterance, in every direction or in each (D,).
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    centres_KD = rng.standard_normal((len(sizes), DIMENSION))
    centres_KD /= np.linalg.norm(centres_KD, axis=1, keepdims=True)
    speaker_N = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    whole_ND = centres_KD[speaker_N] + spread * rng.standard_normal((len(speaker_N), DIMENSION))
    apart_ND = within * rng.standard_normal(whole_ND.shape)
    return whole_ND, np.stack([whole_ND + apart_ND, whole_ND - apart_ND], 1), speaker_N


@pytest.mark.parametrize("method", ["auto", "average", "kmeans", "ahc"])
@pytest.mark.parametrize("space", ["plda", "cosine"])
def test_speakers_of_unequal_size_are_found(method: str, space: str) -> None:
    sizes = [40, 20, 20, 5, 5, 4, 3] if space == "plda" else [20, 10, 10, 5, 5, 4, 3]
    whole_ND, halves_N2D, speaker_N = speakers(sizes)
    found = pseudo_labels(whole_ND, halves_N2D, method=method, counts=range(2, 20))  # type: ignore[arg-type]
    assert found.space == space
    assert found.count == 7 and adjusted_rand_score(speaker_N, found.labels_N) == 1.0


def test_within_utterance_variability_does_not_separate_speakers() -> None:
    """One direction is loud and another in every half: the cosine looks at it, PLDA of halves does not."""
    loud_D = np.where(np.arange(DIMENSION) == 3, 1.0, 0.02)
    whole_ND, halves_N2D, speaker_N = speakers([10] * 10, within=loud_D, seed=1)
    whole_ND = halves_N2D[:, 0]  # as loud as a half
    found = pseudo_labels(whole_ND, halves_N2D, counts=[10])
    assert found.space == "plda" and adjusted_rand_score(speaker_N, found.labels_N) > 0.95
    few = pseudo_labels(whole_ND[:60], halves_N2D[:60], counts=[10])
    assert few.space == "cosine" and adjusted_rand_score(speaker_N[:60], few.labels_N) < 0.7


def test_the_plda_of_a_large_corpus_uses_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The halves of as many utterances as are allowed shape the space that all are brought to."""
    monkeypatch.setattr("sdpn.clustering.pseudo_labels._MOST_FOR_PLDA", 20)
    whole_ND, halves_N2D, _ = speakers([8] * 8)
    (rows_NE, *_), _ = speaker_rows(whole_ND, halves_N2D)
    moved = []
    for place in range(len(whole_ND)):
        other_N2D = halves_N2D.copy()
        other_N2D[place, 0] += 0.1
        moved += [place] * (not np.allclose(speaker_rows(whole_ND, other_N2D)[0][0], rows_NE))
    assert rows_NE.shape == whole_ND.shape and len(moved) == 20
    assert moved[0] == 0 and moved[-1] == 63 and max(np.diff(moved)) <= 4


def test_the_count_is_where_halves_agree_best() -> None:
    """First halves alone and second halves alone, clustered by themselves, as scikit-learn compares them."""
    whole_ND, halves_N2D, _ = speakers([4] * 15, spread=0.15, within=0.15, seed=2)
    counts = [5, 10, 15, 20, 30]
    found = pseudo_labels(whole_ND, halves_N2D, counts=counts)
    (corpus,) = found.corpora
    assert found.space == "cosine" and list(corpus.agreement) == ["average", "kmeans"]
    for method, agreement in corpus.agreement.items():
        assert list(agreement.ari) == counts
        for count in counts:
            first, second = (
                pseudo_labels(halves_N2D[:, n], halves_N2D, method=method, counts=[count]).labels_N
                for n in (0, 1)
            )
            assert agreement.ari[count] == pytest.approx(adjusted_rand_score(first, second))
            if count == agreement.count:
                assert agreement.ami == pytest.approx(adjusted_mutual_info_score(first, second))
        assert agreement.count == max(counts, key=agreement.ari.__getitem__)
    assert found.count == corpus.agreement["kmeans"].count == 15
    assert corpus.method == max(corpus.agreement, key=lambda method: corpus.agreement[method].ami)


def test_average_linkage_is_that_of_scipy() -> None:
    whole_ND, halves_N2D, _ = speakers([9, 8, 3, 2, 1, 1], spread=0.3)
    rows_ND = whole_ND / np.linalg.norm(whole_ND, axis=1, keepdims=True)
    for count in (3, 6, 12):
        found = pseudo_labels(whole_ND, halves_N2D, method="average", counts=[count])
        expected_N = fcluster(linkage(rows_ND, "average"), count, "maxclust")
        assert found.space == "cosine" and adjusted_rand_score(expected_N, found.labels_N) == 1.0


def test_the_method_suits_the_sizes_of_speakers() -> None:
    """Ward's linkage divides those who speak often before it parts those who speak once."""
    often = speakers([100, 60] + [1] * 120, spread=0.12, within=0.12, seed=3)
    alike = speakers([20] * 20, spread=0.2, within=0.1, seed=3)
    for (whole_ND, halves_N2D, speaker_N), expected in ((often, "average"), (alike, "kmeans")):
        found = pseudo_labels(whole_ND, halves_N2D)
        other = pseudo_labels(whole_ND, halves_N2D, method="kmeans" if expected == "average" else "average")
        assert found.corpora[0].method == expected
        ari, worse = (adjusted_rand_score(speaker_N, labels.labels_N) for labels in (found, other))
        assert ari > worse + 0.05


def test_corpora_share_the_space_and_no_cluster() -> None:
    whole_ND, halves_N2D, _ = speakers([20, 20, 10, 10, 6, 6])
    order = np.argsort(whole_ND[:, 0])  # corpora as different as can be
    whole_ND, halves_N2D = whole_ND[order], halves_N2D[order]
    found = pseudo_labels(whole_ND, halves_N2D, corpora=[30, 42], method="kmeans", counts=[3])
    assert found.space == "plda" and found.count == 6
    assert [len(corpus.labels_N) for corpus in found.corpora] == [30, 42]
    assert set(found.labels_N[:30]) == {0, 1, 2} and set(found.labels_N[30:]) == {3, 4, 5}


def test_among_counts_as_good_it_is_the_largest() -> None:
    """Speakers so far apart that halves agree on every way to join them."""
    whole_ND, halves_N2D, _ = speakers([10] * 6, spread=0.01, within=0.01)
    found = pseudo_labels(whole_ND, halves_N2D, counts=range(2, 12))
    ari = found.corpora[0].agreement[found.corpora[0].method].ari
    assert ari[3] > 0.999 and ari[7] < 0.97
    assert found.count == 6


def test_lengths_do_not_count() -> None:
    whole_ND, halves_N2D, _ = speakers([10] * 4)
    scale_N = np.linspace(1, 9, 40)
    found = pseudo_labels(whole_ND * scale_N[:, None], halves_N2D * scale_N[::-1, None, None])
    np.testing.assert_array_equal(found.labels_N, pseudo_labels(whole_ND, halves_N2D).labels_N)


@pytest.mark.parametrize("method", ["average", "kmeans", "ahc"])
def test_a_large_corpus_is_merged_from_points(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_ND, halves_N2D, speaker_N = speakers([60, 40, 20, 10])
    monkeypatch.setattr("sdpn.clustering.pseudo_labels.MAX_POINTS", 40)
    found = pseudo_labels(whole_ND, halves_N2D, method=method, counts=[4])
    assert adjusted_rand_score(speaker_N, found.labels_N) == 1.0
    (corpus,) = pseudo_labels(whole_ND, halves_N2D, method=method).corpora  # type: ignore[arg-type]
    assert max(corpus.agreement[method].ari) <= 20  # type: ignore[index]  # half of the points


def test_k_means_divides_points_that_hold_two_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_ND, halves_N2D, speaker_N = speakers([30] * 8, spread=0.25, within=0.1)
    monkeypatch.setattr("sdpn.clustering.pseudo_labels.MAX_POINTS", 20)
    merged, refined = (
        adjusted_rand_score(
            speaker_N, pseudo_labels(whole_ND, halves_N2D, method=method, counts=[8]).labels_N
        )
        for method in ("ahc", "kmeans")
    )
    assert merged < refined


def test_the_grid_begins_above_the_coarsest_partition() -> None:
    """Two heaps of five speakers each: two clusters are a perfect partition of either half, too."""
    whole_ND, halves_N2D, speaker_N = speakers([8] * 10, spread=0.01, within=0.01)
    away_ND = 3 * np.where(speaker_N % 2, 1, -1)[:, None] * np.ones(DIMENSION)
    found = pseudo_labels(whole_ND + away_ND, halves_N2D + away_ND[:, None])
    for agreement in found.corpora[0].agreement.values():
        assert min(agreement.ari) == 9 and max(agreement.ari) <= 40
    coarse = pseudo_labels(whole_ND + away_ND, halves_N2D + away_ND[:, None], counts=[2, 3])
    assert [agreement.ari[2] for agreement in coarse.corpora[0].agreement.values()] == [1.0, 1.0]


def test_one_count_is_taken_as_it_is() -> None:
    whole_ND, halves_N2D, _ = speakers([10] * 3)
    found: PseudoLabels = pseudo_labels(whole_ND, halves_N2D, method="kmeans", counts=[5])
    assert found.count == 5 and not found.corpora[0].agreement


@pytest.mark.parametrize("counts", [[1], [30], [0, 2]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    whole_ND, halves_N2D, _ = speakers([10] * 3)
    with pytest.raises(InputError, match="cannot form"):
        pseudo_labels(whole_ND, halves_N2D, counts=counts)


def test_rows_without_direction_are_refused() -> None:
    whole_ND, halves_N2D, _ = speakers([10] * 3)
    whole_ND[3] = 0
    with pytest.raises(InputError):
        pseudo_labels(whole_ND, halves_N2D)
