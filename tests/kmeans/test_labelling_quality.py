"""The quality report against scikit-learn on all labels at once; pictures that can be opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.labelling import Quality, QualityTally, assign_chunks, plot_quality
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs, chunks_of, inertia

ROWS, TRUTH = blobs(500, 9, noise=1.0)
CHUNKS = chunks_of(np.array_split(ROWS, 6))
FIT = fit_stream(CHUNKS, StreamSettings(n_clusters=6))


def tallied(*, sample_size: int = 1000, labelled: bool = True) -> Quality:
    tally = QualityTally(FIT.model, sample_size=sample_size)
    classes = np.array_split(TRUTH.astype(str), 6)
    for assignment, names in zip(
        assign_chunks(FIT.model, CHUNKS, sample_size=sample_size), classes, strict=True
    ):
        tally.add(assignment, names.tolist() if labelled else None)
    return tally.quality()


def test_numbers_are_those_of_all_labels_at_once() -> None:
    quality, labels = tallied(), FIT.model.predict(ROWS)
    assert quality.num_rows == 500
    assert quality.inertia == pytest.approx(inertia(ROWS, FIT.model.centres_KD), rel=1e-5)
    np.testing.assert_array_equal(quality.sizes_K, np.bincount(labels, minlength=6))
    assert quality.silhouette == pytest.approx(silhouette_score(ROWS, labels), rel=1e-4)
    assert quality.agreement is not None
    assert quality.agreement.nmi == pytest.approx(normalized_mutual_info_score(TRUTH, labels))
    assert quality.agreement.ari == pytest.approx(adjusted_rand_score(TRUTH, labels))


def test_a_sample_stands_for_all_rows() -> None:
    quality = tallied(sample_size=200, labelled=False)
    assert len(quality.sample_MD) == 200
    assert quality.silhouette == pytest.approx(tallied().silhouette, abs=0.05)
    assert quality.agreement is None


def test_one_cluster_has_no_silhouette() -> None:
    model = fit_stream(CHUNKS, StreamSettings(n_clusters=1)).model
    tally = QualityTally(model)
    for assignment in assign_chunks(model, CHUNKS, sample_size=50):
        tally.add(assignment)
    assert tally.quality().silhouette is None


@pytest.mark.parametrize("name", ["quality.png", "quality.svg"])
def test_pictures(name: str, tmp_path: Path) -> None:
    for fit in (FIT, None):
        plot_quality(tmp_path / name, FIT.model, tallied(), fit)
        if name.endswith("png"):
            picture = imread(tmp_path / name)
            assert picture.shape[:2] == (400, 1300)
            assert picture.std() > 0.05
        else:
            assert "<svg" in (tmp_path / name).read_text()


def test_a_picture_of_rows_on_a_line(tmp_path: Path) -> None:
    rows = np.arange(20, dtype=np.float32)[:, None]
    fit = fit_stream(chunks_of([rows]), StreamSettings(n_clusters=3))
    tally = QualityTally(fit.model)
    for assignment in assign_chunks(fit.model, chunks_of([rows]), sample_size=20):
        tally.add(assignment)
    plot_quality(tmp_path / "line.png", fit.model, tally.quality(), fit)
    assert (tmp_path / "line.png").stat().st_size > 1000
