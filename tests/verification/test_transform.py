"""The way from x-vectors to a PLDA's space, and files that do not lead there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.verification.transform import Transform, read_transform


def test_two_means_two_lengths_and_a_projection() -> None:
    """(4, 4) - (1, 0) = (3, 4), of length 5: (0.6, 0.8); swapped (0.8, 0.6); less (0.2, 0.6): (0.6, 0)."""
    transform = Transform(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.2, 0.6]))
    np.testing.assert_allclose(transform(np.array([[4.0, 4.0]])), [[1.0, 0.0]], atol=1e-12)


def test_another_dimension_and_a_row_without_direction() -> None:
    transform = Transform(np.ones(3), np.eye(3), np.zeros(3))
    with pytest.raises(InputError, match=r"expects 3 dimensions, but the embeddings have shape \(2, 4\)"):
        transform(np.ones((2, 4)))
    with pytest.raises(InputError, match="row 1 is zero"):
        transform(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]))


def test_the_published_transform(shared_data: Path) -> None:
    transform = read_transform(shared_data / "xvectors" / "transform.npz")
    assert transform.lda_DE.shape == (256, 128)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean1": np.ones(3), "lda": np.ones((3, 2))}, "has no array 'mean2'"),
        ({"mean1": np.ones(2), "lda": np.ones((3, 2)), "mean2": np.ones(2)}, r"mean1 of \(2,\)"),
        ({"mean1": np.ones(3), "lda": np.ones(3), "mean2": np.ones(2)}, r"lda of \(3,\)"),
        ({"mean1": np.ones(3), "lda": np.full((3, 2), np.nan), "mean2": np.ones(2)}, "NaN"),
        ({"mean1": np.array([{}]), "lda": np.ones((1, 2)), "mean2": np.ones(2)}, "not a complete npz"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message) as caught:
        read_transform(tmp_path / "t.npz")
    assert caught.value.path == str(tmp_path / "t.npz")


def test_a_file_cut_short_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez_compressed(path, mean1=np.ones(3), lda=np.ones((3, 2)), mean2=np.ones(2))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not a complete npz"):
            read_transform(path)
    with pytest.raises(InputError, match="no such file"):
        read_transform(tmp_path / "absent.npz")
    np.save(tmp_path / "single.npy", np.ones(3))
    with pytest.raises(InputError, match="is not a complete npz"):
        read_transform(tmp_path / "single.npy")
