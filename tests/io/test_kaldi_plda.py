"""Kaldi's PLDA files: as Kaldi writes them, and as they get damaged."""

from __future__ import annotations

import io
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io import kaldi_plda

MEAN, TRANSFORM, PSI = np.array([1.5, -2.0]), np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([0.75, 0.0])


def written(folder: Path, *, binary: bool) -> Path:
    path = folder / "plda"
    kaldi_plda.write(path, MEAN, TRANSFORM, PSI, binary=binary)
    return path


def test_the_published_plda(shared_data: Path) -> None:
    """Kaldi wrote it: the transform makes the total covariance of its training embeddings 1 + psi."""
    mean, transform, psi = kaldi_plda.read(shared_data / "xvectors" / "plda")
    assert (mean.shape, transform.shape, psi.shape) == ((128,), (128, 128), (128,))
    assert (np.diff(psi) <= 0).all()
    assert psi[0] == pytest.approx(5.60041917)
    data = (shared_data / "xvectors" / "plda").read_bytes()
    copy = b"".join(
        [
            b"\0B<Plda> ",
            kaldi_plda._binary(mean),
            kaldi_plda._binary(transform),
            kaldi_plda._binary(psi),
            b"</Plda> ",
        ]
    )
    assert copy == data


def test_kaldiio_reads_the_parts(tmp_path: Path) -> None:
    data = written(tmp_path, binary=True).read_bytes()
    start = len(b"\0B<Plda> ")
    stream = io.BytesIO(b"\0B" + data[start:])
    np.testing.assert_array_equal(kaldiio.matio.read_kaldi(stream), MEAN)
    rest = data[start:][stream.tell() - 2 :]
    stream = io.BytesIO(b"\0B" + rest)
    np.testing.assert_array_equal(kaldiio.matio.read_kaldi(stream), TRANSFORM)


def test_text_is_what_kaldi_writes(tmp_path: Path) -> None:
    expected = "<Plda>  [ 1.5 -2.0 ]\n [\n  1.0 2.0\n  3.0 4.5 ]\n [ 0.75 0.0 ]\n</Plda> "
    assert written(tmp_path, binary=False).read_text() == expected


def test_floats_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "plda"
    vector, matrix = (b"FV \4\2\0\0\0", b"FM \4\2\0\0\0\4\2\0\0\0")
    path.write_bytes(
        b"\0B<Plda> "
        + vector + MEAN.astype("<f4").tobytes()
        + matrix + TRANSFORM.astype("<f4").tobytes()
        + vector + PSI.astype("<f4").tobytes()
        + b"</Plda> "
    )  # fmt: skip
    for part, expected in zip(kaldi_plda.read(path), (MEAN, TRANSFORM, PSI), strict=True):
        np.testing.assert_array_equal(part, expected)
        assert part.dtype == np.float64


@pytest.mark.parametrize("binary", [True, False])
def test_a_file_cut_short_is_refused_wherever_it_ends(binary: bool, tmp_path: Path) -> None:
    path = written(tmp_path, binary=binary)
    whole = path.read_bytes()
    for length in range(len(whole.rstrip())):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not a complete Kaldi PLDA") as caught:
            kaldi_plda.read(path)
        assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("mean", "transform", "psi", "message"),
    [
        (np.ones(3), TRANSFORM, PSI, r"a mean of \(3,\)"),
        (MEAN, np.ones((1, 2)), PSI, r"a transform of \(1, 2\)"),
        (MEAN, TRANSFORM, np.ones(1), r"variances of \(1,\)"),
        (MEAN, TRANSFORM, np.array([1.0, -0.1]), "negative variances"),
        (np.array([np.nan, 0.0]), TRANSFORM, PSI, "NaN"),
    ],
)
@pytest.mark.parametrize("binary", [True, False])
def test_parts_that_do_not_fit(
    mean: np.ndarray, transform: np.ndarray, psi: np.ndarray, message: str, binary: bool, tmp_path: Path
) -> None:
    kaldi_plda.write(tmp_path / "plda", mean, transform, psi, binary=binary)
    with pytest.raises(InputError, match=message):
        kaldi_plda.read(tmp_path / "plda")


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            kaldi_plda.read(path)


@given(
    start=st.sampled_from([b"", b"\0B", b"\0B<Plda> ", b"\0B<Plda> DV \4", b"<Plda> ", b"<Plda> [ 1 ] [ "]),
    rest=st.binary(max_size=60),
)
def test_random_bytes_are_an_error_that_names_the_file(start: bytes, rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plda"
    path.write_bytes(start + rest)
    with pytest.raises(InputError) as caught:
        kaldi_plda.read(path)
    assert caught.value.path == str(path)
