"""The driver: passes, stopping, options, memory, bad input."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from sdpn.errors import InputError
from sdpn.kmeans.chunks import Chunk, IterableChunk, NpyChunk
from sdpn.kmeans.fit import FitProgress, fit_stream
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs, chunks_of

ROWS, TRUTH = blobs(1200, 6, noise=0.3)


def fit(rows: np.ndarray = ROWS, *, num_chunks: int = 5, **settings: Any) -> Any:
    settings = {"n_clusters": 6, "max_iter": 5, **settings}
    return fit_stream(chunks_of(np.array_split(rows, num_chunks)), StreamSettings(**settings))


def test_every_pass_sees_every_row() -> None:
    found = fit(batch_size=70, max_iter=3, max_no_improvement=None, lloyd_passes=2, init_size=100)
    assert found.epochs == 3
    assert set(found.rows_per_pass) == {1200}
    assert 4 <= len(found.rows_per_pass) <= 5
    assert found.num_rows == 1200
    np.testing.assert_array_equal(found.history_T2[:, 0], np.cumsum(([70] * 17 + [10]) * 3))


def test_equal_input_gives_equal_centres_and_the_seed_matters() -> None:
    first, again, other = fit(), fit(), fit(seed=1)
    np.testing.assert_array_equal(first.model.centres_KD, again.model.centres_KD)
    assert not np.array_equal(first.model.centres_KD, other.model.centres_KD)


def test_lloyds_passes_end_where_those_of_scikit_learn_do() -> None:
    rows, _ = blobs(1500, 20, noise=1.0)
    start = rows[:: 1500 // 12][:12]
    expected = KMeans(12, init=start, n_init=1, tol=0, max_iter=300).fit(rows)
    settings = StreamSettings(n_clusters=12, max_iter=0, lloyd_passes=300)
    found = fit_stream(chunks_of(np.array_split(rows, 7)), settings, centres_KD=start)
    np.testing.assert_allclose(found.model.centres_KD, expected.cluster_centers_, atol=1e-4)
    assert found.epochs == 0
    assert len(found.rows_per_pass) < 300  # it noticed that nothing moves


def test_tol_and_max_no_improvement_stop_between_epochs_only() -> None:
    assert fit(tol=1e9, max_iter=50).epochs == 1
    assert fit(tol=0.0, max_no_improvement=None, max_iter=6).epochs == 6
    patient = fit(max_no_improvement=1, max_iter=200, batch_size=100)
    assert patient.epochs < 200
    assert patient.held_out[-1] >= min(patient.held_out[:-1])


def test_the_best_epoch_is_kept() -> None:
    found = fit(max_iter=12, max_no_improvement=None, batch_size=40)
    per_row = found.model.nearest(ROWS)[1].mean()  # the sample is the whole stream: nothing else is held out
    assert per_row == pytest.approx(min(found.held_out), rel=1e-5)


def test_standardised_as_scikit_learn_does_it_with_centres_in_input_space() -> None:
    rows = ROWS * np.geomspace(1e-3, 1e3, 16, dtype=np.float32) + np.float32(50)
    found = fit(rows, standardise=True, lloyd_passes=20)
    scaler = StandardScaler().fit(rows.astype(np.float64))
    np.testing.assert_allclose(found.model.space.mean_D, scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(found.model.space.scale_D, scaler.scale_, rtol=1e-5)
    labels = found.model.predict(rows)
    assert adjusted_rand_score(TRUTH, labels) > 0.99
    means = np.stack([rows[labels == cluster].mean(axis=0, dtype=np.float64) for cluster in range(6)])
    np.testing.assert_allclose(found.model.centres_KD, means, rtol=1e-3, atol=1e-3)


def test_directions_do_not_see_lengths() -> None:
    lengths = np.random.default_rng(0).uniform(0.1, 10, size=(len(ROWS), 1)).astype(np.float32)
    found = fit(ROWS * lengths, spherical=True)
    assert adjusted_rand_score(TRUTH, found.model.predict(ROWS * lengths)) > 0.99
    np.testing.assert_allclose(np.linalg.norm(found.model.centres_KD, axis=1), 1, rtol=1e-5)
    labels, squares = found.model.nearest(ROWS)
    cosine = (ROWS * found.model.centres_KD[labels]).sum(axis=1) / np.linalg.norm(ROWS, axis=1)
    np.testing.assert_allclose(squares, 2 - 2 * cosine, atol=1e-5)
    assert adjusted_rand_score(fit(ROWS * lengths).model.predict(ROWS * lengths), TRUTH) < 0.9


def test_rows_far_from_the_origin_keep_their_digits() -> None:
    found = fit(ROWS + np.float32(3000))
    assert adjusted_rand_score(TRUTH, found.model.predict(ROWS + np.float32(3000))) > 0.99


def test_batches_and_chunks_smaller_than_the_number_of_clusters() -> None:
    found = fit(num_chunks=400, batch_size=2)
    assert adjusted_rand_score(TRUTH, found.model.predict(ROWS)) > 0.9


def test_centres_to_start_from() -> None:
    means = np.stack([ROWS[label == TRUTH].mean(axis=0) for label in range(6)])
    found = fit_stream(chunks_of([ROWS]), StreamSettings(n_clusters=6, max_iter=1), centres_KD=means)
    np.testing.assert_allclose(found.model.centres_KD, means, atol=0.05)  # in their order
    with pytest.raises(InputError, match=r"have shape \(6, 3\); expected \(6, 16\)"):
        fit_stream(chunks_of([ROWS]), StreamSettings(n_clusters=6), centres_KD=means[:, :3])


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_both_starts(init: str) -> None:
    assert fit(init=init, n_init=5).model.nearest(ROWS)[1].mean() < 3 * 16 * 0.3**2


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.int64])
def test_numbers_of_any_precision(dtype: type, tmp_path: Any) -> None:
    rows = (np.clip(ROWS, -4, 4) * 10 + 60).astype(dtype)
    np.save(tmp_path / "rows.npy", rows)
    found = fit_stream([NpyChunk(name=str(tmp_path / "rows.npy"))], StreamSettings(n_clusters=6, max_iter=2))
    expected = fit_stream(chunks_of([rows.astype(np.float32)]), StreamSettings(n_clusters=6, max_iter=2))
    np.testing.assert_array_equal(found.model.centres_KD, expected.model.centres_KD)


def test_progress_reports_every_stage() -> None:
    reported: list[FitProgress] = []
    settings = StreamSettings(n_clusters=6, max_iter=1, lloyd_passes=1, batch_size=500)
    fit_stream(chunks_of(np.array_split(ROWS, 3)), settings, on_progress=reported.append)
    assert [(one.stage, one.done, one.total) for one in reported] == [
        *(("survey", done, 3) for done in (0, 1, 2, 3)),
        *(("epochs", done, 1200) for done in (500, 1000, 1200)),
        *(("lloyd", done, 1200) for done in (500, 1000, 1200)),
    ]
    assert all(one.inertia is not None and one.inertia > 0 for one in reported[4:])


def test_memory_is_that_of_the_budget_and_not_of_the_stream() -> None:
    def pieces() -> Iterator[np.ndarray]:
        for number in range(60):
            yield np.random.default_rng(number).random((2000, 64), dtype=np.float32)

    chunk = IterableChunk(name="generated", pieces=pieces)  # 31 MB
    settings = StreamSettings(n_clusters=8, max_iter=1, memory_mb=4, init_size=2000, n_init=1)
    fit_stream([chunk], settings)  # what is imported on the way is not counted
    tracemalloc.start()
    fit_stream([chunk], settings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


def test_batches_fill_the_memory_but_leave_an_epoch_its_updates() -> None:
    settings = StreamSettings(n_clusters=100, memory_mb=8)
    assert settings.batch_rows(100, 10**9) == 8e6 / 2 / (100 * 8)
    assert settings.batch_rows(100, 100_000) == 2000
    assert settings.batch_rows(100, 1000) == 100
    assert StreamSettings(n_clusters=100, batch_size=7).batch_rows(100, 10**9) == 7


BAD = np.nan * ROWS[:1]
HUGE = np.where(np.arange(16) == 3, np.float32(3e38), ROWS[:1])


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ([], {}, "there are no chunks"),
        ([ROWS, ROWS[:, :5]], {}, "chunk 1: rows have 5 dimensions; expected 16"),
        ([ROWS, ROWS[:0]], {}, "chunk 1: contains no rows"),
        ([ROWS, ROWS[:, :0]], {}, "chunk 1: rows have 0 dimensions; expected 16"),
        ([ROWS, np.vstack([ROWS[:7], BAD])], {}, "chunk 1: row 7 contains NaN or infinite values"),
        ([ROWS, np.vstack([ROWS[:9], BAD + np.inf])], {}, "chunk 1: row 9 contains NaN or infinite"),
        ([ROWS, np.full((3, 16), 1e300)], {}, "chunk 1: row 0 contains NaN or infinite"),
        (
            [ROWS, np.vstack([ROWS[:8], HUGE])],
            {},
            "chunk 1: row 8 contains 3e+38, whose square overflows",
        ),
        ([ROWS * 1e13], {}, "chunk 0: row 0 contains "),
        ([ROWS * 1e-20], {}, "all 1200 rows differ by less than 1e-15, whose square underflows"),
        (
            [ROWS, ROWS * 1e-20],
            {"spherical": True},
            "chunk 1: row 0 has no value of at least 1e-15",
        ),
        ([ROWS, ROWS.astype(complex)], {}, "chunk 1: contains complex128; expected integers or real"),
        ([ROWS, 0 * ROWS], {"spherical": True}, "chunk 1: row 0 is zero: it has no direction"),
        ([ROWS[:2], ROWS[:3]], {}, "5 rows in 2 chunks are fewer than 6 clusters"),
        ([ROWS[:1].repeat(50, axis=0)], {}, "all 50 rows are equal"),
        ([ROWS[:5].repeat(50, axis=0)], {}, "the sample has 5 distinct rows, too few for 6 clusters"),
    ],
)
def test_rows_that_will_not_do(arrays: list[np.ndarray], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        fit_stream(chunks_of(arrays), StreamSettings(n_clusters=6, **settings))


@pytest.mark.parametrize("scale", [1e11, 1e-11])
@pytest.mark.parametrize("settings", [{}, {"spherical": True}, {"standardise": True}, {"lloyd_passes": 1}])
def test_large_and_small_rows_have_the_same_clusters(scale: float, settings: dict[str, Any]) -> None:
    labels = fit(ROWS, **settings).model.predict(ROWS)
    rows = ROWS * np.float32(scale)
    assert adjusted_rand_score(labels, fit(rows, **settings).model.predict(rows)) > 0.98
    with pytest.raises(InputError, match="row 2 contains 3e\\+38"):
        fit(ROWS).model.predict(np.vstack([ROWS[:2], HUGE]))


def test_rows_of_zeros_have_a_place_if_no_direction() -> None:
    assert fit(np.vstack([ROWS, np.zeros((200, 16), dtype=np.float32)]), n_clusters=7).num_rows == 1400


def test_constant_dimensions_and_one_cluster() -> None:
    rows = ROWS.copy()
    rows[:, 3] = 7
    found = fit(rows, standardise=True)
    assert found.model.space.scale_D[3] == 1
    assert adjusted_rand_score(TRUTH, found.model.predict(rows)) > 0.9
    one = fit(np.ones((9, 2)), n_clusters=1).model
    np.testing.assert_array_equal(one.centres_KD, [[1, 1]])


def test_a_stream_that_is_another_one_the_second_time() -> None:
    times: list[int] = []

    def changing(by: int) -> Chunk:
        def pieces() -> list[np.ndarray]:
            times.append(1)
            return [ROWS if len(times) == 1 else np.vstack([ROWS, ROWS])[: len(ROWS) + by]]

        times.clear()
        return IterableChunk(name="a loader", pieces=pieces)

    for by, now in ((1, "more"), (-1, "1199")):
        with pytest.raises(InputError, match=f"a loader: had 1200 rows in the first pass, and {now} now"):
            fit_stream([changing(by)], StreamSettings(n_clusters=6))


@pytest.mark.parametrize(
    "setting",
    [{"n_clusters": 0}, {"n_init": 0}, {"init_iter": 0}, {"max_iter": -1}, {"lloyd_passes": -1}, {"seed": -1},
     {"init": "best"}, {"backend": "torch"}, {"init_size": 5}, {"batch_size": 0}, {"max_no_improvement": 0},
     {"memory_mb": 0}, {"tol": -1}, {"tol": np.nan}, {"reassignment_ratio": 1}],
)  # fmt: skip
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        StreamSettings(**{"n_clusters": 6, **setting})
