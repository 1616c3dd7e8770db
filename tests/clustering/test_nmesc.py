"""NME-SC: Laplacians and p by hand, and the search that it makes."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from sdpn.clustering import nmesc
from sdpn.clustering.affinity import nearest_neighbour_graph
from sdpn.clustering.nmesc import NmeSc
from sdpn.eigen import largest_eigenvalue
from sdpn.verification.similarity import cosine_similarity


def noisy_speakers(counts: list[int], *, seed: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), 32))
    return np.repeat(centres, counts, axis=0) + noise * rng.normal(size=(sum(counts), 32))


def test_binary_pruning_counts_neighbours_whatever_their_similarity() -> None:
    """Rows keep: 0 -> 1; 1 -> 0; 2 -> 1, the least dissimilar. Each mutual link is 1, the other one half."""
    similarity = np.array([[1.0, 0.9, -0.5], [0.9, 1.0, -0.2], [-0.5, -0.2, 1.0]])
    expected = [[0, 1, 0], [1, 0, 0.5], [0, 0.5, 0]]
    np.testing.assert_array_equal(nearest_neighbour_graph(similarity, 1, binary=True), expected)
    for num_neighbours in (2, 3, 9):
        np.testing.assert_array_equal(
            nearest_neighbour_graph(similarity, num_neighbours, binary=True), 1 - np.eye(3)
        )


@pytest.mark.parametrize("seed", range(3))
def test_p_has_the_smallest_ratio_to_its_gap(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """The paper's formulas with all eigenvalues, dense."""
    emb = noisy_speakers([50, 40, 30], seed=seed, noise=1.0)
    clusterer = NmeSc(max_estimate=8)
    ratios = {}
    for num in clusterer._candidates(120):
        graph = nearest_neighbour_graph(cosine_similarity(emb), num, binary=True)
        values = np.linalg.eigvalsh(np.diag(graph.sum(axis=1)) - graph)
        ratios[num] = num / (np.diff(values[:9]).max() / values[-1])
    with caplog.at_level(logging.INFO):
        assert clusterer.fit_predict(emb).num_speakers == 3
    assert f"p = {min(ratios, key=ratios.__getitem__)} of 120, 3 speakers" in caplog.text


def test_candidates_run_from_the_fewest_neighbours_to_a_share_of_all() -> None:
    candidates = NmeSc(num_candidates=5)._candidates(1000)
    assert candidates[0] == 10
    assert candidates[-1] == 250
    assert candidates == sorted(set(candidates))
    assert NmeSc()._candidates(6) == [5]
    assert NmeSc(min_neighbours=2)._candidates(9) == [2]


def test_the_sparse_solver_gives_the_dense_ones_largest_eigenvalue() -> None:
    emb = noisy_speakers([300, 300], seed=0, noise=1.0)
    laplacian = nmesc._laplacian(nearest_neighbour_graph(cosine_similarity(emb), 30, binary=True))
    expected = np.linalg.eigvalsh(laplacian)[-1]
    assert largest_eigenvalue(laplacian, seed=0) == pytest.approx(expected, rel=1e-9)


def test_too_few_windows_for_an_estimate_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert NmeSc().fit_predict(np.eye(3)).labels_N.tolist() == [0, 0, 0]
    assert "nmesc: 3 windows are too few" in caplog.text


@pytest.mark.parametrize(
    "setting",
    [
        {"min_neighbours": 0},
        {"max_neighbours": 1.5},
        {"num_candidates": 0},
        {"max_estimate": 0},
        {"min_windows": 2},
        {"exact_windows": 3},
        {"seed": -1},
    ],
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        NmeSc(**setting)  # type: ignore[arg-type]
