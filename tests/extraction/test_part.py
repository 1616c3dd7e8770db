"""The archive of one process: whatever a kill leaves of it, what was finished is there and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.extraction.part import Part, read_failed, read_index, signature
from sdpn.io.kaldi import Utterance, read_vectors


def _utterance(name: str) -> Utterance:
    return Utterance(name, Path(f"/corpus/{name}.wav"))


def _vector(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).standard_normal((1, 5)).astype(np.float32)


def _written(path: Path, *names: str) -> None:
    with Part(path) as part:
        for name in names:
            part.add(_utterance(name), _vector(name), 1.5, windows=False)


def test_what_is_added_is_on_disk_at_once_and_a_kaldi_archive(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.ark"
    with Part(path) as part:
        for name in ("a", "b"):
            part.add(_utterance(name), _vector(name), 1.5, windows=False)
            # read by others while it is being written, as after a kill
            assert read_index(path.with_suffix(".index"))[-1].id == name
            np.testing.assert_array_equal(read_vectors(path)[name], _vector(name)[0])


def test_windows_get_a_key_each_and_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.ark"
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    with Part(path) as part:
        part.add(_utterance("a"), rows, 2.25, windows=True)
    (entry,) = read_index(path.with_suffix(".index"))
    assert (entry.num_vectors, entry.duration_s) == (3, 2.25)
    np.testing.assert_array_equal(np.stack(list(read_vectors(path).values())), rows)
    assert list(read_vectors(path)) == ["a-000000", "a-000001", "a-000002"]


@pytest.mark.parametrize("lost", [1, 7, 40])
@pytest.mark.parametrize("of", ["ark", "index"])
def test_a_torn_end_is_cut_off_and_the_rest_goes_on(tmp_path: Path, of: str, lost: int) -> None:
    path = tmp_path / "0-of-1.ark"
    _written(path, "a", "b", "c")
    torn = path.with_suffix(f".{of}")
    torn.write_bytes(torn.read_bytes()[:-lost])
    kept = [entry.id for entry in read_index(path.with_suffix(".index"))]
    with Part(path) as part:
        kept = [entry.id for entry in read_index(path.with_suffix(".index"))]
        assert kept in (["a"], ["a", "b"])
        part.add(_utterance("d"), _vector("d"), 1.5, windows=False)
    vectors = read_vectors(path)
    assert list(vectors) == [*kept, "d"]
    for name, vector in vectors.items():
        np.testing.assert_array_equal(vector, _vector(name)[0])


def test_vectors_that_the_index_does_not_know_are_dropped(tmp_path: Path) -> None:
    """Killed between the vectors and their line."""
    path = tmp_path / "0-of-1.ark"
    _written(path, "a", "b")
    index = path.with_suffix(".index")
    index.write_text(index.read_text().splitlines(keepends=True)[0])
    _written(path, "c")
    assert list(read_vectors(path)) == ["a", "c"]


def test_pages_that_never_reached_the_disk_are_noticed(tmp_path: Path) -> None:
    """A power failure can leave zeros in the middle of a file of the right length."""
    path = tmp_path / "0-of-1.ark"
    _written(path, "a", "b", "c")
    content = bytearray(path.read_bytes())
    second = read_index(path.with_suffix(".index"))[1]
    content[second.offset + 15 : second.offset + 20] = bytes(5)
    path.write_bytes(content)
    _written(path)
    assert [entry.id for entry in read_index(path.with_suffix(".index"))] == ["a"]


def test_failures_are_listed_at_the_end_and_cleared_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.ark"
    with Part(path) as part:
        part.fail(_utterance("a"), "is\ntruncated")
    assert list(read_failed(path.with_suffix(".failed"))) == [
        ("a", signature(_utterance("a")), "is truncated")
    ]
    with pytest.raises(KeyboardInterrupt), Part(path) as part:
        part.fail(_utterance("a"), "is truncated")
        raise KeyboardInterrupt
    assert not path.with_suffix(".failed").exists()  # not all utterances have had their turn


def test_two_processes_cannot_write_one_part(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.ark"
    with Part(path), pytest.raises(InputError, match="another process is extracting this part"):
        Part(path)
    _written(path, "a")


def test_the_signature_depends_on_file_and_segment() -> None:
    path = Path("/corpus/a.wav")
    different = [
        Utterance("a", path),
        Utterance("a", Path("/corpus/b.wav")),
        Utterance("a", path, 1.0),
        Utterance("a", path, 0.0, 1.0),
    ]
    assert len({signature(utterance) for utterance in different}) == 4
    assert signature(Utterance("b", path, speaker="s")) == signature(different[0])


def test_an_index_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.index"
    path.write_text("a 0 1\n")
    with pytest.raises(InputError, match="no index") as caught:
        read_index(path)
    assert caught.value.line == 1
