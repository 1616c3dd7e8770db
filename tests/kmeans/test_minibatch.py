"""Mini-batches: against scikit-learn's steps and means by hand; restored exactly; both back ends agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.minibatch import InitialCentres, MiniBatches
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs, chunks_of, inertia

ROWS, _ = blobs(640, 8)
ROWS = ROWS[np.random.default_rng(0).permutation(640)]
BATCHES = ROWS.reshape(10, 64, -1)
START = BATCHES[0][:8].copy()


def settings(**changes: Any) -> StreamSettings:
    return StreamSettings(n_clusters=8, **changes)


def backend(name: str) -> str:
    if name == "faiss":
        pytest.importorskip("faiss", reason="the extra 'faiss' is not installed")
    return name


def begin(count: float, centres: np.ndarray = START, **changes: Any) -> MiniBatches:
    return MiniBatches(InitialCentres(centres, np.full(8, count, np.float32)), settings(**changes))


def test_the_steps_are_those_of_partial_fit() -> None:
    expected = MiniBatchKMeans(8, init=START, n_init=1, batch_size=64, reassignment_ratio=0, random_state=0)
    found = begin(0, reassignment_ratio=0)
    for batch in BATCHES:
        expected.partial_fit(batch)
        found.step(batch)
    np.testing.assert_allclose(found.centres_KD, expected.cluster_centers_, rtol=1e-5, atol=1e-6)
    assert found.counts_K.sum() == 640


def test_a_step_depends_on_nothing_that_is_not_saved() -> None:
    whole = begin(1, reassignment_ratio=0.5)
    resumed = begin(1, START[::-1].copy(), reassignment_ratio=0.5)
    for batch in BATCHES[:7]:
        whole.step(batch)
    resumed.restore(whole.state())
    for batch in BATCHES[7:]:
        assert whole.step(batch) == resumed.step(batch)
    np.testing.assert_array_equal(whole.centres_KD, resumed.centres_KD)
    np.testing.assert_array_equal(whole.counts_K, resumed.counts_K)


def test_the_inertia_is_that_of_the_whole_batch() -> None:
    squares = ((BATCHES[0][:, None] - START) ** 2).sum(axis=2).min(axis=1)
    assert begin(1).step(BATCHES[0]) == pytest.approx(squares.mean(), rel=1e-4)


@pytest.mark.parametrize("name", ["sklearn", "faiss"])
def test_a_centre_is_the_mean_of_the_rows_that_chose_it(name: str) -> None:
    batches = begin(3, reassignment_ratio=0, backend=backend(name))
    labels = np.linalg.norm(BATCHES[0][:, None] - START, axis=2).argmin(axis=1)
    batches.step(BATCHES[0])
    for cluster in range(8):
        mine = BATCHES[0][labels == cluster]
        mean = (3 * START[cluster] + mine.sum(axis=0)) / (3 + len(mine))
        np.testing.assert_allclose(batches.centres_KD[cluster], mean, rtol=1e-4, atol=1e-5)
        assert batches.counts_K[cluster] == 3 + len(mine)


@pytest.mark.parametrize("name", ["sklearn", "faiss"])
def test_counts_are_of_the_last_epoch(name: str) -> None:
    batches = begin(5, reassignment_ratio=0, backend=backend(name))
    sums = []
    for _ in range(3):
        batches.begin_epoch()
        sums.append(batches.counts_K.sum())
        for batch in BATCHES:
            batches.step(batch)
    assert sums == [40, 640, 640]
    assert batches.counts_K.sum() == 1280


@pytest.mark.parametrize("name", ["sklearn", "faiss"])
def test_an_empty_cluster_is_reinitialised(name: str) -> None:
    start = START.copy()
    start[3] = 1000
    batches = begin(1, start, backend=backend(name))
    for batch in BATCHES:
        batches.step(batch)
    assert np.abs(batches.centres_KD[3]).max() < 10


def test_the_back_ends_agree() -> None:
    backend("faiss")
    runs = [begin(1, reassignment_ratio=0, backend=name) for name in ("sklearn", "faiss")]
    for batch in BATCHES:
        for run in runs:
            run.step(batch)
    np.testing.assert_allclose(runs[0].centres_KD, runs[1].centres_KD, rtol=1e-3, atol=1e-4)


def test_faiss_resumes_exactly_and_clusters_as_well() -> None:
    backend("faiss")
    rows, _ = blobs(1500, 20, noise=1.5)
    options: dict[str, Any] = {"n_clusters": 15, "max_iter": 6, "lloyd_passes": 5, "init_size": 300}
    chunks = chunks_of(np.array_split(rows, 10))
    found = {
        name: fit_stream(chunks, StreamSettings(**options, backend=name))  # type: ignore[arg-type]
        for name in ("sklearn", "faiss")
    }
    ours, theirs = (inertia(rows, found[name].model.centres_KD) for name in ("faiss", "sklearn"))
    assert ours < 1.02 * theirs
    batches = [begin(1, backend="faiss", reassignment_ratio=0.5) for _ in range(2)]
    for batch in BATCHES[:5]:
        batches[0].step(batch)
    batches[1].restore(batches[0].state())
    for batch in BATCHES[5:]:
        assert batches[0].step(batch) == batches[1].step(batch)
    np.testing.assert_array_equal(batches[0].centres_KD, batches[1].centres_KD)
