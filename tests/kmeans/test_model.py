"""A saved model is the model; a damaged or foreign one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.model import KMeansModel
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs, chunks_of

ROWS, _ = blobs(400, 5)
SUFFIXES = [".npz", ".safetensors"]


def trained(**settings: Any) -> KMeansModel:
    return fit_stream(chunks_of([ROWS]), StreamSettings(n_clusters=5, max_iter=2, **settings)).model


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "settings", [{}, {"spherical": True}, {"standardise": True}, {"standardise": True, "spherical": True}]
)
def test_saved_and_loaded(settings: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    model = trained(**settings)
    model.save(tmp_path / f"deep/model{suffix}")
    loaded = KMeansModel.load(tmp_path / f"deep/model{suffix}")
    np.testing.assert_array_equal(loaded.centres_KD, model.centres_KD)
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS))
    np.testing.assert_array_equal(loaded.nearest(ROWS)[1], model.nearest(ROWS)[1])
    assert loaded.source == model.source
    assert loaded.source["num_rows"] == 400
    assert (loaded.n_clusters, loaded.dimension) == (5, 16)


def test_labels_are_those_of_the_nearest_centre_in_input_space() -> None:
    model = trained()
    distances = np.linalg.norm(ROWS[:, None] - model.centres_KD, axis=2)
    np.testing.assert_array_equal(model.predict(ROWS), distances.argmin(axis=1))
    np.testing.assert_allclose(model.nearest(ROWS)[1], distances.min(axis=1) ** 2, rtol=1e-4)
    np.testing.assert_array_equal(model.predict(ROWS.astype(np.float64)), model.predict(ROWS))


def test_predicting_does_not_change_the_rows() -> None:
    rows = ROWS.copy()
    trained(spherical=True, standardise=True).predict(rows)
    np.testing.assert_array_equal(rows, ROWS)


def test_rows_of_another_dimension() -> None:
    with pytest.raises(InputError, match=r"rows have shape \(400, 3\); the model expects \(rows, 16\)"):
        trained().predict(ROWS[:, :3])
    with pytest.raises(InputError, match="row 2 contains NaN"):
        trained().predict(np.vstack([ROWS[:2], ROWS[:1] * np.nan]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_no_model(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(InputError, match="no such k-means model"):
        KMeansModel.load(path)
    trained().save(path)
    whole = path.read_bytes()
    for part in (b"", whole[:20], whole[: len(whole) // 2]):
        path.write_bytes(part)
        with pytest.raises(InputError, match="is damaged or not a k-means model"):
            KMeansModel.load(path)
    with pytest.raises(InputError, match=r"expected \.npz or \.safetensors"):
        trained().save(tmp_path / "model.pkl")


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    meta = np.array(json.dumps({"format": 1, "spherical": False}))
    good = {"centres": np.ones((2, 3)), "mean": np.zeros(3), "scale": np.ones(3), "meta": meta}
    for change in ({"mean": np.zeros(2)}, {"scale": np.zeros(3)}, {"centres": np.full((2, 3), np.nan)},
                   {"centres": np.ones(3)}, {"centres": np.ones((0, 3))}):  # fmt: skip
        np.savez(tmp_path / "model.npz", **{**good, **change})
        with pytest.raises(InputError, match="its arrays are inconsistent"):
            KMeansModel.load(tmp_path / "model.npz")
    np.savez(tmp_path / "model.npz", **{**good, "meta": np.array(json.dumps({"format": 2}))})
    with pytest.raises(InputError, match="of format 1"):
        KMeansModel.load(tmp_path / "model.npz")
    np.savez(tmp_path / "model.npz", **{**good, "centres": np.array([[{}]], dtype=object)})
    with pytest.raises(InputError, match="is damaged or not a k-means model"):
        KMeansModel.load(tmp_path / "model.npz")
