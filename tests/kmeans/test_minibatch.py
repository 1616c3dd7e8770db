"""Mini-batches: scikit-learn's own steps, restored exactly; faiss's against theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.minibatch import MiniBatches, SklearnMiniBatches, start_mini_batches
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


def test_the_steps_are_those_of_partial_fit() -> None:
    expected = MiniBatchKMeans(8, init=START, n_init=1, batch_size=64, reassignment_ratio=0, random_state=0)
    for batch in BATCHES:
        expected.partial_fit(batch)
    found = SklearnMiniBatches(START, np.zeros(8, np.float32), settings(reassignment_ratio=0), 64)
    for batch in BATCHES:
        found.step(batch)
    np.testing.assert_array_equal(found.centres_KD, expected.cluster_centers_)
    np.testing.assert_array_equal(found.counts_K, expected._counts)


def test_a_step_depends_on_nothing_that_is_not_saved() -> None:
    whole = SklearnMiniBatches(START, np.ones(8, np.float32), settings(reassignment_ratio=0.5), 64)
    resumed = SklearnMiniBatches(
        START[::-1].copy(), np.ones(8, np.float32), settings(reassignment_ratio=0.5), 64
    )
    for batch in BATCHES[:7]:
        whole.step(batch)
    resumed.restore(whole.state())
    for batch in BATCHES[7:]:
        whole.step(batch)
        resumed.step(batch)
    mine, theirs = vars(whole._estimator), vars(resumed._estimator)
    assert mine.keys() == theirs.keys()
    for name in mine.keys() - {"init", "_random_state"}:  # where it began, which no step looks at
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    for one, other in zip(
        mine["_random_state"].get_state(), theirs["_random_state"].get_state(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_everything_that_scikit_learn_holds_is_set() -> None:
    """A version that holds more would have to be looked at."""
    fresh = MiniBatchKMeans(8, init=START, n_init=1).partial_fit(ROWS)
    found = SklearnMiniBatches(START, np.ones(8, np.float32), settings(), 64)
    known = {
        "_counts",
        "_batch_size",
        "_n_since_last_reassign",
        "_random_state",
        "cluster_centers_",
        "n_steps_",
    }
    constant = {"_n_threads", "_tol", "_init_size", "_n_init", "_n_features_out", "n_features_in_"}
    parameters = fresh.get_params().keys() | {"labels_", "inertia_"}
    assert vars(fresh).keys() - parameters == known | constant
    assert vars(found._estimator).keys() <= known | constant | parameters


@pytest.mark.parametrize("name", ["sklearn", "faiss"])
def test_a_centre_is_the_mean_of_the_rows_that_chose_it(name: str) -> None:
    batches = start_mini_batches(
        START, np.full(8, 3, np.float32), settings(reassignment_ratio=0, backend=backend(name)), 64
    )
    labels = np.linalg.norm(BATCHES[0][:, None] - START, axis=2).argmin(axis=1)
    batches.step(BATCHES[0])
    for cluster in range(8):
        mine = BATCHES[0][labels == cluster]
        mean = (3 * START[cluster] + mine.sum(axis=0)) / (3 + len(mine))
        np.testing.assert_allclose(batches.centres_KD[cluster], mean, rtol=1e-4, atol=1e-5)
        assert batches.counts_K[cluster] == 3 + len(mine)


@pytest.mark.parametrize("name", ["sklearn", "faiss"])
def test_counts_are_of_the_last_epoch(name: str) -> None:
    batches = start_mini_batches(
        START, np.full(8, 5, np.float32), settings(reassignment_ratio=0, backend=backend(name)), 64
    )
    sums = []
    for _ in range(3):
        batches.begin_epoch()
        sums.append(batches.counts_K.sum())
        for batch in BATCHES:
            batches.step(batch)
    assert sums == [40, 640, 640]
    assert batches.counts_K.sum() == 1280


@pytest.mark.parametrize("name", ["sklearn", "faiss"])
def test_a_centre_that_nobody_chooses_starts_again(name: str) -> None:
    start = START.copy()
    start[3] = 1000
    batches = start_mini_batches(start, np.ones(8, np.float32), settings(backend=backend(name)), 64)
    for batch in BATCHES:
        batches.step(batch)
    assert np.abs(batches.centres_KD[3]).max() < 10


def test_the_back_ends_agree() -> None:
    backend("faiss")
    runs: list[MiniBatches] = [
        start_mini_batches(START, np.ones(8, np.float32), settings(reassignment_ratio=0, backend=name), 64)  # type: ignore[arg-type]
        for name in ("sklearn", "faiss")
    ]
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
    batches = [
        start_mini_batches(
            START, np.ones(8, np.float32), settings(backend="faiss", reassignment_ratio=0.5), 64
        )
        for _ in range(2)
    ]
    for batch in BATCHES[:5]:
        batches[0].step(batch)
    batches[1].restore(batches[0].state())
    for batch in BATCHES[5:]:
        assert batches[0].step(batch) == batches[1].step(batch)
    np.testing.assert_array_equal(batches[0].centres_KD, batches[1].centres_KD)
