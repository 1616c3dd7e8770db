"""HDBSCAN: windows marked as noise are assigned, and requirements are reported."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.hdbscan import Hdbscan
from sdpn.errors import InputError


def test_dense_windows_keep_hdbscans_labels_and_noise_goes_to_the_nearest_mean() -> None:
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(24, 24)))[0][:3]
    emb = np.repeat(centres, 40, axis=0) + 0.05 * rng.normal(size=(120, 24))
    emb = np.concatenate([emb, rng.normal(size=(6, 24))])
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    theirs = HDBSCAN(min_cluster_size=10, copy=True).fit_predict(emb)
    noise, speakers = theirs < 0, range(3)
    assert 4 <= noise.sum() < 30
    assert set(theirs[~noise]) == set(speakers)
    means = np.stack([emb[theirs == speaker].mean(axis=0) for speaker in speakers])
    expected = np.where(noise, (emb @ means.T).argmax(axis=1), theirs)
    assert adjusted_rand_score(expected, Hdbscan().fit_predict(emb).labels_N) == 1.0


def test_the_smallest_speaker() -> None:
    rng = np.random.default_rng(0)
    emb = np.repeat(np.eye(3), [100, 100, 12], axis=0) + 0.02 * rng.normal(size=(212, 3))
    assert Hdbscan().fit_predict(emb).num_speakers == 3  # 4 would be a fiftieth, but it has to be 10
    assert Hdbscan(min_cluster_size=20).fit_predict(emb).num_speakers == 2
    longer = np.repeat(np.eye(3), [400, 400, 12], axis=0) + 0.02 * rng.normal(size=(812, 3))
    assert Hdbscan().fit_predict(longer).num_speakers == 2  # a fiftieth is 16


def test_a_long_recording_is_sampled_and_the_other_windows_follow(caplog: pytest.LogCaptureFixture) -> None:
    truth = np.tile(np.repeat(range(4), 5), 60)
    emb = np.eye(8)[truth] + 0.05 * np.random.default_rng(0).normal(size=(1200, 8))
    with caplog.at_level(logging.INFO):
        found = Hdbscan(exact_windows=300).fit_predict(emb)
    assert "clustering 300 of 1200 windows" in caplog.text
    assert adjusted_rand_score(truth, found.labels_N) == 1.0


def test_too_few_windows_for_a_density_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert Hdbscan().fit_predict(np.eye(8)).num_speakers == 1
        assert Hdbscan().fit_predict(np.eye(30)).num_speakers == 1
    assert "8 windows are too few for two speakers of at least 10" in caplog.text
    assert "no dense cluster" in caplog.text


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"UMAP is not installed.*sdpn\[umap\]"):
        Hdbscan(umap_dimensions=5).fit_predict(np.eye(30))


def test_with_umap() -> None:
    pytest.importorskip("umap", reason="the umap extra is not installed")
    emb = np.repeat(np.eye(3), 40, axis=0) + 0.1 * np.random.default_rng(0).normal(size=(120, 3))
    labels = Hdbscan(umap_dimensions=2).fit_predict(emb).labels_N
    assert adjusted_rand_score(np.repeat(range(3), 40), labels) == 1.0
    np.testing.assert_array_equal(labels, Hdbscan(umap_dimensions=2).fit_predict(emb).labels_N)
    few = np.random.default_rng(0).normal(size=(11, 30))
    assert Hdbscan(umap_dimensions=20).fit_predict(few, num_speakers=2).num_speakers == 2


@pytest.mark.parametrize(
    "setting",
    [
        {"min_cluster_size": 1},
        {"umap_dimensions": -1},
        {"exact_windows": 1},
        {"seed": -1},
    ],
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Hdbscan(**setting)  # type: ignore[arg-type]
