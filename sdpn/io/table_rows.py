"""Rows of Kaldi tables, ``key value``, in blocks: a table of a million takes a few seconds.

The keys of a table are distinct. An error in a row comes after the rows before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, TypeVar

from sdpn.errors import InputError
from sdpn.io.packed_text import DistinctKeys
from sdpn.io.text import read_text

Row = TypeVar("Row")

#: Rows that are read, and whose keys are checked, together.
ROWS_AT_ONCE = 4096


class RowBlock(NamedTuple):
    """Some rows of a table.

    Attributes:
        lines: their line numbers, from 1.
        keys: what stands before the first white space.
        values: the rest of each line.
    """

    lines: Sequence[int]
    keys: Sequence[str]
    values: Sequence[str]

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """Yield (line number, key, value)."""
        return zip(self.lines, self.keys, self.values, strict=True)

    def before(self, row: int) -> RowBlock:
        """The rows before one."""
        return RowBlock(self.lines[:row], self.keys[:row], self.values[:row])


def row_blocks(path: str | os.PathLike[str]) -> Iterator[RowBlock]:
    """Yield the rows of a table, split at the first white space only; keys may repeat.

    Raises:
        InputError: as `read_text`, or a line has no value.
    """
    # not splitlines(), which also breaks at form feeds and U+2028: line numbers must match those of editors
    lines = read_text(path).split("\n")
    for first in range(0, len(lines), ROWS_AT_ONCE):
        some = lines[first : first + ROWS_AT_ONCE]
        pairs = [line.strip().split(maxsplit=1) for line in some]
        if all(map(_is_pair, pairs)):
            yield RowBlock(range(first + 1, first + 1 + len(some)), *zip(*pairs, strict=True))
            continue
        numbered = [(number, pair) for number, pair in enumerate(pairs, start=first + 1) if pair]
        valueless = next((row for row, (_, pair) in enumerate(numbered) if len(pair) < 2), None)
        good = numbered[:valueless]
        if good:
            numbers, found = zip(*good, strict=True)
            yield RowBlock(numbers, *zip(*found, strict=True))
        if valueless is not None:
            number = numbered[valueless][0]
            raise InputError(
                f"expected 'id value', found {some[number - first - 1].strip()!r}", path=path, line=number
            )


def _is_pair(fields: list[str]) -> bool:
    return len(fields) == 2


def distinct_row_blocks(
    path: str | os.PathLike[str], known: DistinctKeys | None = None
) -> Iterator[RowBlock]:
    """Yield the rows of a table whose keys are distinct; they take 16 bytes each.

    Args:
        path: the table.
        known: takes the keys; None forgets them.

    Raises:
        InputError: as `row_blocks`, or a key occurs twice.
    """
    known = DistinctKeys() if known is None else known
    for block in row_blocks(path):
        again = known.add(block.keys)
        if again is None:
            yield block
            continue
        if again:
            yield block.before(again)
        key = block.keys[again]
        rows = chain.from_iterable(each.rows() for each in row_blocks(path))
        first = next((line for line, other, _ in rows if other == key), None)
        raise InputError(
            f"id {key!r} occurs a second time (first on line {first})",
            path=path,
            line=block.lines[again],
            hint="ids must be unique",
        )


def distinct_blocks(
    rows: Iterator[Row],
    key_of: Callable[[Row], str],
    again: Callable[[Row], InputError],
    known: DistinctKeys | None = None,
) -> Iterator[list[Row]]:
    """Yield rows of any kind in blocks, none of which is empty, up to the first whose key occurred before.

    Keys take 16 bytes each.

    Args:
        rows: may end with an `InputError`, which comes after the rows before it.
        key_of: the key of a row.
        again: the error for a row whose key occurred before.
        known: takes the keys; None forgets them.
    """
    known = DistinctKeys() if known is None else known
    failure: InputError | None = None
    while failure is None:
        block: list[Row] = []
        try:
            for row in islice(rows, ROWS_AT_ONCE):
                block.append(row)  # noqa: PERF402 - rows before an error are kept
        except InputError as error:
            failure = error
        if not block and failure is None:
            return
        repeated = known.add([key_of(row) for row in block])
        if block and repeated != 0:
            yield block[:repeated]
        if repeated is not None:
            raise again(block[repeated])
    raise failure
