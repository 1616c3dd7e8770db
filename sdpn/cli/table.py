"""Plain aligned tables, and the same in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Characters that Markdown gives a meaning in the middle of a line.
_MARKUP = re.compile(r"[\\`|*~<>&]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|!(?=\[)")

#: Those that HTML within Markdown would understand in spite of a backslash.
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells in columns: the first to the left, the others, which are numbers, to the right.

    Returns:
        one line for the header and one for each row, without a line end after the last.
    """
    header, rows = _printable(header), list(map(_printable, rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def _printable(row: Sequence[str]) -> list[str]:
    """Cells without what would move a terminal's cursor: names of files may hold anything."""
    return ["".join(letter if letter.isprintable() else "�" for letter in cell) for cell in row]


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for a Markdown page.

    Returns:
        as `format_table`, with a ruler under the header; cells are plain text, see `escape_markdown`.
    """
    ruler = [":--", *("--:" for _ in header[1:])]
    escaped = [list(map(escape_markdown, row)) for row in (header, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (escaped[0], ruler, *escaped[1:]))


def escape_markdown(text: str) -> str:
    """Plain text for a Markdown page: it ends no cell, and makes no emphasis, link, code or HTML.

    Ids come from files of strangers. What means nothing where it stands, such as ``_`` within a word, stays.
    """
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0]) or f"\\{match[0]}", " ".join(text.split("\n")))
