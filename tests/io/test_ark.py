"""sdpn.io.ark: vectors as Kaldi lays them out; expected values come from kaldiio and from the format."""

from __future__ import annotations

import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from sdpn.io.ark import iterate_ark, open_ark, vector_at, vector_entry


def test_the_bytes_of_the_format() -> None:
    floats = b"\0BFV \4" + struct.pack("<i2f", 2, 1.5, -2.0)
    doubles = b"\0BDV \4" + struct.pack("<i1d", 1, 0.1)
    content = b"a " + floats + b"b " + doubles + b"c  [ 1 -2.5 3e-1 ]\n" + b"\xc3\xa9 " + floats
    vectors = dict(iterate_ark(content))
    assert {key: vector.tolist() for key, vector in vectors.items()} == {
        "a": [1.5, -2.0],
        "b": [float(np.float32(0.1))],
        "c": [1.0, -2.5, float(np.float32(0.3))],
        "é": [1.5, -2.0],
    }
    assert all(vector.dtype == np.float32 for vector in vectors.values())
    vector, end = vector_at(content, 2)
    assert vector.tolist() == [1.5, -2.0]
    assert content[end : end + 2] == b"b "
    assert list(iterate_ark(b"")) == []


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kaldiio_archives_are_read(tmp_path: Path, text: bool, dtype: str) -> None:
    path = tmp_path / "x.ark"
    vectors = {f"utt{i}": np.random.default_rng(i).normal(size=7).astype(dtype) for i in range(5)}
    kaldiio.save_ark(str(path), vectors, text=text)
    read = dict(iterate_ark(open_ark(path)))
    assert list(read) == list(vectors)
    for key, vector in vectors.items():
        np.testing.assert_allclose(read[key], vector, rtol=1e-6)


def test_real_xvectors_are_read_as_kaldiio_reads_them(shared_data: Path) -> None:
    path = shared_data / "xvectors" / "ES2005a.ark"
    read = dict(iterate_ark(open_ark(path)))
    expected = dict(kaldiio.load_ark(str(path)))
    assert list(read) == list(expected)
    assert len(read) == 1025
    for key, vector in expected.items():
        np.testing.assert_array_equal(read[key], vector.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"key", "no value after the key at byte 0"),
        (b"key ", "it ends before byte 4"),
        (b"a \0BFV \4" + struct.pack("<i1f", 2, 1.0), "vector at byte 2 is empty or cut short"),
        (b"a \0BFV \4" + struct.pack("<i", 0), "empty or cut short"),
        (b"a \0BFV \4" + struct.pack("<i", -3), "empty or cut short"),
        (b"a \0BFV \4" + struct.pack("<i", 2**31 - 1), "empty or cut short"),
        (
            b"a \0BFM \4" + struct.pack("<i", 1) + b"\4" + struct.pack("<if", 1, 1.0),
            "does not start a vector of floats",
        ),
        (b"a  [ 1 2", "no vector starts at byte 2"),
        (b"a  [ ]\n", "no vector starts at byte 2"),
        (b"a  [\n 1 2\n 3 4 ]\n", "a matrix starts at byte 2"),
        (b"a  [ one ]\n", "could not convert"),
        (b"a PKLcos\nsystem\n(S'exit'\ntR.]", "no vector starts at byte 2"),
        (b"\xff \0BFV \4" + struct.pack("<i1f", 1, 1.0), "codec can't decode"),
    ],
)
def test_what_is_no_vector_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(iterate_ark(content))


def test_an_entry_is_read_back_and_is_what_kaldiio_writes(tmp_path: Path) -> None:
    from kaldiio import save_ark

    vector = np.array([1.5, -2.0, np.pi], dtype=np.float32)
    save_ark(str(tmp_path / "theirs.ark"), {"a": vector})
    entry = vector_entry("a", vector)
    assert entry == (tmp_path / "theirs.ark").read_bytes()
    ((key, found),) = iterate_ark(entry)
    assert key == "a"
    np.testing.assert_array_equal(found, vector)
