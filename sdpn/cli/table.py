"""Plain aligned tables, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells in columns: the first to the left, the others, which are numbers, to the right.

    Returns:
        one line for the header and one for each row, without a line end after the last.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for a Markdown page.

    Returns:
        as `format_table`, with a ruler under the header; ``|`` in a cell is escaped.
    """
    ruler = [":--", *("--:" for _ in header[1:])]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *escaped))
