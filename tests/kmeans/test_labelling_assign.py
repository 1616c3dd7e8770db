"""Labels chunk by chunk, in one process or several."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.io.kaldi import vector_writer
from sdpn.kmeans import labelling
from sdpn.kmeans.chunks import Chunk, IterableChunk, KaldiChunk, open_chunk
from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.labelling import assign_chunks
from sdpn.kmeans.settings import StreamSettings
from tests.kmeans.rows import blobs, chunks_of

ROWS, _ = blobs(300, 4)
MODEL = fit_stream(chunks_of([ROWS]), StreamSettings(n_clusters=4, spherical=True)).model


def files(folder: Path) -> list[Chunk]:
    for number, rows in enumerate(np.split(ROWS[:200], [120])):
        np.save(folder / f"{number}.npy", rows)
    with vector_writer(folder) as write:
        for number, row in enumerate(ROWS[200:]):
            write(f"utt{number}", row)
    return [open_chunk(folder / name) for name in ("0.npy", "1.npy", "embeddings.scp")]


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    chunks = files(tmp_path)
    one, two = (list(assign_chunks(MODEL, chunks, processes=num, sample_size=10)) for num in (1, 2))
    for single, other in zip(one, two, strict=True):
        assert single.chunk == other.chunk
        assert (single.keys is None) == (other.keys is None)
        assert list(single.keys or ()) == list(other.keys or ())
        for name in ("labels_N", "squares_N", "sample_MD", "tags_M"):
            np.testing.assert_array_equal(getattr(single, name), getattr(other, name))
    np.testing.assert_array_equal(np.concatenate([each.labels_N for each in one]), MODEL.predict(ROWS))
    assert [each.keys is None for each in one] == [True, True, False]
    assert list(one[2].keys or ()) == [f"utt{number}" for number in range(100)]
    assert all(len(each.sample_MD) == 10 for each in one)
    assert all((each.sample_MD[:, None] == ROWS).all(axis=2).any(axis=1).all() for each in one)


def test_one_process_labels_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = files(tmp_path)
    whole = list(assign_chunks(MODEL, chunks, sample_size=10))
    monkeypatch.setattr(labelling, "_LINES_AT_ONCE", 7)
    blocks = list(assign_chunks(MODEL, chunks, sample_size=10))
    assert max(len(each.labels_N) for each in blocks) == 7
    for number, expected in enumerate(whole):
        own = [each for each in blocks if each.number == number]
        np.testing.assert_array_equal(np.concatenate([each.labels_N for each in own]), expected.labels_N)
        np.testing.assert_allclose(
            np.concatenate([each.squares_N for each in own]), expected.squares_N, atol=1e-6
        )
        assert [key for each in own for key in each.keys or ()] == list(expected.keys or ())
        assert [len(each.sample_MD) for each in own] == [0] * (len(own) - 1) + [10]
        assert (own[-1].sample_MD[:, None] == ROWS).all(axis=2).any(axis=1).all()


def test_memory_of_labelling_grows_by_little_more_than_the_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "_LINES_AT_ONCE", 1000)
    peaks = []
    for number in (4_000, 12_000):
        with vector_writer(tmp_path) as write:
            for row in range(number):
                write(f"an-utterance-with-a-long-id-{row:08d}", ROWS[row % 300])
        chunk = KaldiChunk(name=str(tmp_path / "embeddings.ark"), check_ids=False)
        tracemalloc.start()
        with labelling.LabelTable(tmp_path / "labels") as table:
            for assignment in assign_chunks(MODEL, [chunk]):
                table.add(assignment)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 8_000 < 30  # bytes; ids alone have 36


def test_errors_of_other_processes_name_the_chunk(tmp_path: Path) -> None:
    chunks = files(tmp_path)
    np.save(tmp_path / "1.npy", ROWS[:, :7])
    with pytest.raises(InputError, match=r"1\.npy: rows have 7 dimensions; expected 16"):
        list(assign_chunks(MODEL, chunks, processes=2))


def test_what_cannot_be_assigned() -> None:
    with pytest.raises(InputError, match="a loader: only exists in this process"):
        list(assign_chunks(MODEL, [IterableChunk(name="a loader", pieces=lambda: [ROWS])], processes=2))
    with pytest.raises(InputError, match="is 0; expected at least 1"):
        list(assign_chunks(MODEL, chunks_of([ROWS]), processes=0))
    with pytest.raises(InputError, match="chunk 0: contains no rows"):
        list(assign_chunks(MODEL, chunks_of([ROWS[:0]])))
    with pytest.raises(InputError, match="chunk 0: row 0 is zero"):
        list(assign_chunks(MODEL, chunks_of([0 * ROWS])))
