"""The functions that people know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdpn.errors import InputError
from sdpn.kmeans.compatibility import fetch_kmeans_model, save_model, train
from tests.kmeans.rows import blobs, chunks_of

ROWS, TRUTH = blobs(600, 5, noise=0.3)
LOADER = np.array_split(ROWS, 70)


def test_fetch_train_save_fetch(tmp_path: Path) -> None:
    kmeans = fetch_kmeans_model(
        n_clusters=5, init="k-means++", max_iter=10, batch_size=64, tol=0.0, max_no_improvement=10, n_init=2,
        reassignment_ratio=0.0, random_state=3, compute_labels=True, init_size=100,
    )  # fmt: skip
    fit = train(kmeans, LOADER)
    assert set(fit.rows_per_pass) == {600}
    assert adjusted_rand_score(TRUTH, kmeans.predict(ROWS)) > 0.99
    save_model(kmeans, tmp_path / "kmeans.safetensors")
    fetched = fetch_kmeans_model(checkpoint_path=tmp_path / "kmeans.safetensors")
    np.testing.assert_array_equal(fetched.cluster_centers_, kmeans.cluster_centers_)
    np.testing.assert_array_equal(fetched.predict(ROWS), kmeans.predict(ROWS))


def test_training_further_starts_from_the_centres(tmp_path: Path) -> None:
    kmeans = fetch_kmeans_model(5, spherical=True, standardise=True)
    train(kmeans, LOADER)
    save_model(kmeans, tmp_path / "kmeans.npz")
    further = fetch_kmeans_model(checkpoint_path=tmp_path / "kmeans.npz", max_iter=1)
    assert further.settings.spherical
    assert further.settings.standardise
    train(further, LOADER)
    np.testing.assert_array_equal(further.predict(ROWS), kmeans.predict(ROWS))


def test_loaders_of_every_kind(tmp_path: Path) -> None:
    for number, rows in enumerate(np.array_split(ROWS, 3)):
        np.save(tmp_path / f"{number}.npy", rows)

    class Loader:
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(LOADER)

    found = []
    for loader in (
        LOADER,
        Loader(),
        ROWS[None],
        chunks_of([ROWS]),
        [tmp_path / f"{n}.npy" for n in range(3)],
    ):
        kmeans = fetch_kmeans_model(n_clusters=5, max_iter=0)
        train(kmeans, loader, kmeans_batch_size=50)
        found.append(kmeans.cluster_centers_)
    for centres in found[1:]:
        np.testing.assert_allclose(centres, found[0], atol=1e-4)


def test_a_torch_loader(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(torch.from_numpy(ROWS), batch_size=32)
    kmeans = fetch_kmeans_model(n_clusters=5)
    fit = train(kmeans, loader, save_path=tmp_path / "state.npz")
    assert set(fit.rows_per_pass) == {600}
    assert (tmp_path / "state.npz").is_file()


def test_what_would_have_been_silent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such k-means model"):
        fetch_kmeans_model(n_clusters=5, checkpoint_path=tmp_path / "absent.npz")
    with pytest.raises(InputError, match="n_clusters is missing"):
        fetch_kmeans_model()
    with pytest.raises(InputError, match="unknown key 'sperical'"):
        fetch_kmeans_model(n_clusters=5, sperical=True)
    with pytest.raises(InputError, match="n_init is 0"):
        fetch_kmeans_model(n_clusters=5, n_init=0)
    kmeans = fetch_kmeans_model(n_clusters=5)
    with pytest.raises(InputError, match="is not trained yet"):
        kmeans.predict(ROWS)
    with pytest.raises(InputError, match="is not trained yet"):
        save_model(kmeans, tmp_path / "kmeans.npz")
    with pytest.raises(InputError, match="can be iterated only once"):
        train(kmeans, iter(LOADER))
    train(kmeans, LOADER)
    save_model(kmeans, tmp_path / "kmeans.npz")
    with pytest.raises(InputError, match=r"kmeans\.npz: has 5 clusters, not 6"):
        fetch_kmeans_model(n_clusters=6, checkpoint_path=tmp_path / "kmeans.npz")
    with pytest.raises(InputError, match="has spherical=False"):
        fetch_kmeans_model(checkpoint_path=tmp_path / "kmeans.npz", spherical=True)
    with pytest.raises(InputError, match=r"rows have shape \(600, 3\)"):
        kmeans.predict(ROWS[:, :3])
