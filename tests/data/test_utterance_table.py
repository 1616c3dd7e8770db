"""A table gives the utterances that it was made of, and costs a loader process nothing to look at."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sdpn.data.utterance_table import UtteranceTable
from sdpn.io.kaldi import Utterance, iterate_columns, read_data_dir

UTTERANCES = [
    Utterance("a", Path("/x/1.wav")),
    Utterance("b", Path("/x/1.wav"), 0.1, 1 / 3, channel=0),
    Utterance("ü", Path("rel/2 3.ark:17"), 5.0, None, channel=7, keep_truncated=True),
    Utterance("d", Path("/x/1.wav"), 0.0, 12.0),
]


def test_it_gives_what_it_was_given() -> None:
    table = UtteranceTable(UTTERANCES)
    assert list(table) == UTTERANCES
    assert table[-1] == UTTERANCES[-1] and list(table[1:3]) == UTTERANCES[1:3]
    assert list(table.ids) == ["a", "b", "ü", "d"]
    assert table.num_files == 2
    assert UtteranceTable([replace(UTTERANCES[0], speaker="s")])[0].speaker is None
    with pytest.raises(IndexError):
        table[4]


def test_columns_are_the_same_as_objects(tmp_path: Path) -> None:
    folders = [data_dir(tmp_path / name, prefix=name) for name in "pq"]
    (folders[1] / "segments").unlink()
    (folders[1] / "utt2spk").unlink()
    table, one_by_one = UtteranceTable(UTTERANCES[:1]), UtteranceTable(UTTERANCES[:1])
    for folder in (folders[0], folders[1], folders[1]):  # the last path comes twice in a row, in two blocks
        for columns in iterate_columns(folder):
            table.extend_columns(columns)
        one_by_one.extend(read_data_dir(folder))
    assert list(table) == list(one_by_one)
    assert table.num_files == one_by_one.num_files
    assert table.shard_starts().tolist() == one_by_one.shard_starts().tolist() == [0, 1, 2, 3, 4, 5, 6]


def data_dir(folder: Path, *, prefix: str) -> Path:
    folder.mkdir()
    (folder / "r1.wav").touch()
    (folder / "r2.wav").touch()
    (folder / "wav.scp").write_text(f"{prefix}r1 r1.wav\n{prefix}r2 r2.wav\n")
    (folder / "segments").write_text(f"{prefix}1 {prefix}r1 0 1.25\n{prefix}2 {prefix}r2 0.5 -1 1\n")
    (folder / "utt2spk").write_text(f"{prefix}1 s\n")
    return folder


def test_looking_at_utterances_copies_no_memory() -> None:
    """In a forked process, every object of a list that is looked at is written to, and its page copied."""
    # in a process of its own: what a large test run has touched is copied as well
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        table_kb, objects_kb = alone.submit(_table_and_objects_kb).result()
    assert table_kb < objects_kb / 2


def _table_and_objects_kb() -> tuple[int, int]:
    def utterances() -> Iterator[Utterance]:
        return (Utterance(f"u{number:06}", Path(f"/c/{number:06}.wav")) for number in range(100_000))

    table_kb = _grown_kb(UtteranceTable(utterances()))  # before there are objects, whose strings paths share
    return table_kb, _grown_kb(list(utterances()))


def _grown_kb(utterances: Sequence[Utterance]) -> int:
    """What a forked process has for itself alone after a look at all of them."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        gc.disable()  # which would look at every object of the test run
        before = _private_kb()
        length = sum(len(one.id) for one in utterances)
        os.write(writing, f"{length} {_private_kb() - before}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    length, grown_kb = map(int, os.read(reading, 100).split())
    assert length == 7 * len(utterances)
    return grown_kb


def _private_kb() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))


def test_shards_are_archives_and_single_files() -> None:
    paths = ["a.tar:512", "a.tar:2048", "b.tar:512", "c.wav", "c.wav", "d.wav", "a.tar:4096"]
    table = UtteranceTable(Utterance(f"u{number}", Path(path)) for number, path in enumerate(paths))
    assert table.shard_starts().tolist() == [0, 2, 3, 5, 6]
    assert UtteranceTable().shard_starts().tolist() == []
