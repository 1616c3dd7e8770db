"""Put the figures of a benchmark into a model card, or print them.

    sdpn benchmark --data corpora --out exp/benchmark --json exp/results/benchmark.small.json
    python tools/card_figures.py exp/results/benchmark.small.json --card sdpn/pretrained/small/README.md

The text between the lines ``<!-- benchmark -->`` and ``<!-- end of benchmark -->`` of the card is replaced by
tables of the first model of the results. Nothing is measured here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sdpn.benchmark.figures import Row, with_interval
from sdpn.cli.script import script
from sdpn.cli.table import format_markdown
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.text import read_text
from sdpn.report.results import BenchmarkResults, read_result_file

BEGIN, END = "<!-- benchmark -->", "<!-- end of benchmark -->"

#: What a table is headed by: part of the benchmark -> what its columns are.
_TABLES = {"eer": "verification", "der": "conversations", "ami": "meetings"}


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="what 'sdpn benchmark --json benchmark.LABEL.json' wrote")
    parser.add_argument("--card", type=Path, metavar="FILE", help="model card (default: print the tables)")
    args = parser.parse_args(argv)
    found = read_result_file(args.results).results
    if not isinstance(found, BenchmarkResults):
        raise InputError("is not what 'sdpn benchmark' wrote", path=args.results)
    tables = figures(found)
    if args.card is None:
        print(tables)
    else:
        atomic_write_text(args.card, replaced(read_text(args.card), tables, args.card))


def figures(benchmark: BenchmarkResults) -> str:
    """Tables of the first model: a row for each condition, a column for each corpus and figure."""
    tables = [
        pivot([row for row in benchmark.rows if row.part == part and row.values[0] is not None], heading)
        for part, heading in _TABLES.items()
    ]
    cost = [_cell(row) for row in benchmark.rows if row.part == "cost"]
    tables += [f"Cost: {cost[0]} CPU seconds per hour of audio, on one thread."] if cost else []
    return "\n\n".join(table for table in tables if table)


def pivot(rows: Sequence[Row], heading: str) -> str:
    """One table of rows of one part; empty without rows."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(row.figure for row in rows))
    places = list(dict.fromkeys((row.corpus, row.condition) for row in rows))
    cells = {(row.corpus, row.condition, row.figure): _cell(row) for row in rows}
    return format_markdown(
        [heading, *columns],
        [
            [f"{corpus}: {condition}", *(cells.get((corpus, condition, figure), "") for figure in columns)]
            for corpus, condition in places
        ],
    )


def replaced(card: str, tables: str, path: Path) -> str:
    """The card with other tables.

    Raises:
        InputError: it does not hold both marks, each once, in their order.
    """
    before, begin, rest = card.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise InputError(f"does not hold {BEGIN} and {END}, once each", path=path)
    return f"{before}{begin}\n{tables}\n\n{end}{after}"


def _cell(row: Row) -> str:
    value = row.values[0]
    return "" if value is None else with_interval(value.value, value.low, value.high)


if __name__ == "__main__":
    raise SystemExit(main())
