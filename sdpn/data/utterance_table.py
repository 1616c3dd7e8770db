"""The utterances of the training data by the million, in arrays rather than objects.

An `Utterance` with its strings and its path takes about 600 bytes, and a loader process that is forked has
in the end a copy of each. Here one takes the characters of its id and path and some 40 bytes, and looking
at it changes nothing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from sdpn.io.kaldi import Utterance
from sdpn.io.packed import PackedText, count_distinct


class UtteranceTable(Sequence[Utterance]):
    """A list of utterances, made when asked for. Speakers are not kept: training must not see them.

    Args:
        utterances: the first ones.
    """

    def __init__(self, utterances: Iterable[Utterance] = ()) -> None:
        self._ids = PackedText()
        self._paths = PackedText()
        self._latest_path: Path | None = None
        self._path_of = array("q")  # segments of one file, which follow each other, share its path
        self._starts = array("d")
        self._ends = array("d")  # NaN: the end of the file
        self._channels = array("q")  # -1: whatever the reader takes
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

    @property
    def ids(self) -> Sequence[str]:
        """Their ids."""
        return self._ids

    @property
    def num_files(self) -> int:
        """How many audio files they are in."""
        return count_distinct(self._paths)

    def stretches(self) -> Iterator[tuple[str, float, float | None, int | None]]:
        """Yield id, start, end and channel of each; as `Utterance` has them, without making any."""
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
