"""Millions of utterances in arrays instead of Python objects.

An `Utterance` takes about 600 bytes, and reference counting makes every forked loader process copy all of
them. Here an utterance takes the characters of its id and path and some 40 bytes, which stay shared
(``python tools/benchmarks/million.py``).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, pairwise
from pathlib import Path
from typing import overload

import numpy as np

from sdpn.io.kaldi import Utterance, UtteranceColumns, iterate_columns, refuse_shared_ids
from sdpn.io.packed_text import PackedText, count_distinct


class UtteranceTable(Sequence[Utterance]):
    """A list that creates `Utterance` objects on access. Speakers are dropped: training must not see them.

    Args:
        utterances: initial utterances.
    """

    def __init__(self, utterances: Iterable[Utterance] = ()) -> None:
        self._ids = PackedText()
        self._paths = PackedText()
        self._latest_path: Path | None = None
        self._path_of = array("q")  # consecutive segments of a file share its path
        self._starts = array("d")
        self._ends = array("d")  # NaN: the end of the file
        self._channels = array("q")  # -1: the choice of the reader
        self._truncated = bytearray()
        self.extend(utterances)

    def extend(self, utterances: Iterable[Utterance]) -> None:
        """Add utterances."""
        for utterance in utterances:
            if utterance.path != self._latest_path:
                self._latest_path = utterance.path
                self._paths.append(str(utterance.path))
            self._ids.append(utterance.id)
            self._path_of.append(len(self._paths) - 1)
            self._starts.append(utterance.start_s)
            self._ends.append(math.nan if utterance.end_s is None else utterance.end_s)
            self._channels.append(-1 if utterance.channel is None else utterance.channel)
            self._truncated.append(utterance.keep_truncated)

    def extend_columns(self, columns: UtteranceColumns) -> None:
        """Add the utterances of a block, without making objects of them."""
        ids, paths, starts_s, ends_s, _, channels = columns
        latest = "" if self._latest_path is None else str(self._latest_path)
        is_new = [one != other for one, other in pairwise(chain([latest], paths))]
        first = len(self._paths) - 1
        self._paths.extend(compress(paths, is_new))
        self._ids.extend(ids)
        self._path_of.frombytes((first + np.cumsum(is_new, dtype=np.int64)).tobytes())
        self._starts.extend(starts_s)
        self._ends.extend(math.nan if end_s is None else end_s for end_s in ends_s)
        self._channels.extend(-1 if channel is None else channel for channel in channels)
        self._truncated.extend(bytes(len(ids)))
        if paths:
            self._latest_path = Path(paths[-1])

    @property
    def ids(self) -> Sequence[str]:
        """Utterance ids."""
        return self._ids

    @property
    def num_files(self) -> int:
        """Number of audio files."""
        return count_distinct(self._paths)

    def shard_starts(self) -> np.ndarray:
        """First utterance of each shard, (M,) int64: of an archive, or of a file that is none."""
        shards = (path.rpartition(":")[0] if ":" in path else path for path in self._paths)
        changes = np.array([one != other for one, other in pairwise(chain([None], shards))], dtype=bool)
        path_N = np.frombuffer(self._path_of, dtype=np.int64)
        shard_N = np.cumsum(changes)[path_N]
        return np.flatnonzero(np.diff(shard_N, prepend=0))

    def stretches(self) -> Iterator[tuple[str, float, float | None, int | None]]:
        """Yield id, start, end and channel of each utterance without creating objects."""
        for key, start_s, end_s, channel in zip(
            self._ids, self._starts, self._ends, self._channels, strict=True
        ):
            yield key, start_s, None if math.isnan(end_s) else end_s, None if channel < 0 else channel

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> UtteranceTable: ...
    def __getitem__(self, index: int | slice) -> Utterance | UtteranceTable:
        """Return an utterance, or a table of those in a slice."""
        if isinstance(index, slice):
            return UtteranceTable(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        end_s, channel = self._ends[place], self._channels[place]
        return Utterance(
            self._ids[place],
            Path(self._paths[self._path_of[place]]),
            self._starts[place],
            None if math.isnan(end_s) else end_s,
            channel=None if channel < 0 else channel,
            keep_truncated=bool(self._truncated[place]),
        )


def read_utterances(
    directories: Sequence[Path], *, check_files: bool = True
) -> tuple[UtteranceTable, list[int]]:
    """Read the utterances of several data directories without their speakers.

    Args:
        directories: Kaldi data directories.
        check_files: also require that every audio file exists.

    Returns:
        the utterances, directory by directory, and how many each has.

    Raises:
        InputError: a directory is not valid, or an utterance id occurs in two of them.
    """
    table, sizes = UtteranceTable(), []
    for directory in directories:
        before = len(table)
        for columns in iterate_columns(directory, check_files=check_files, speakers=False):
            table.extend_columns(columns)
        sizes.append(len(table) - before)
    if len(directories) > 1:
        refuse_shared_ids(table.ids, directories, sizes)
    return table, sizes
