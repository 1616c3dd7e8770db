"""Plain aligned tables, and the same in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Characters with a meaning in Markdown within a line.
_MARKUP = re.compile(r"[\\`|*~<>&]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|!(?=\[)")

#: Characters that HTML within Markdown interprets despite a backslash.
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align cells in columns: the first on the left, the others, which are numbers, on the right.

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
    """Cells without terminal control characters, which file names may contain."""
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
    """Plain text for a Markdown page: it cannot end a cell or become emphasis, a link, code or HTML.

    Ids come from untrusted files. Characters without a meaning in their place, such as ``_`` within a word,
    stay.
    """
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0]) or f"\\{match[0]}", " ".join(text.split("\n")))
