#!/usr/bin/env python3
"""One table of all iterations of pseudo-label training, also as TensorBoard curves over the iterations.

    local/pseudo_table.py EXP/pseudo --rounds 2 --first EXP/results/verify.trained.json

Row 0 is the initial network; row i describes the clusters of round i and the network trained on them. Reads
labels.json, verify.json and verify-back-end.json in folder i.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.tracking.board import Board


class Column(NamedTuple):
    """Where a value is found and shown."""

    heading: str
    tag: str
    file: str
    key: str
    form: str


COLUMNS = (
    Column("clusters", "clusters", "labels", "clusters", "{:d}"),
    Column("NMI", "nmi", "labels", "nmi", "{:.3f}"),
    Column("purity", "purity", "labels", "purity", "{:.3f}"),
    Column("EER %", "eer", "verify", "eer", "{:.2%}"),
    Column("minDCF", "min_dcf_001", "verify", "min_dcf_001", "{:.3f}"),
    Column("EER % with back end", "eer_back_end", "verify-back-end", "eer", "{:.2%}"),
)


def read_results(path: Path | None) -> dict[str, Any]:
    """Results in a JSON file; nothing where there is none."""
    if path is None or not path.is_file():
        return {}
    results = read_json(path, "result document").get("results")
    if not isinstance(results, dict):
        raise InputError("has no results", path=path, hint="make it again with --json")
    return results


def main() -> None:
    """Read, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with one folder for each iteration: 1, 2, …")
    parser.add_argument("--rounds", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--first", type=Path, metavar="JSON", help="verification of the first network")
    parser.add_argument("--first-back-end", type=Path, metavar="JSON", help="the same with its back end")
    args = parser.parse_args()
    iterations = [
        {
            "verify": read_results(args.first),
            "verify-back-end": read_results(args.first_back_end),
            "labels": {},
        }
    ]
    for number in range(1, args.rounds + 1):
        folder = args.folder / str(number)
        iterations.append({file: read_results(folder / f"{file}.json") for file in iterations[0]})
    board = Board(args.folder / "tensorboard", start_step=0)
    rows = []
    for number, results in enumerate(iterations):
        values = [results[column.file].get(column.key) for column in COLUMNS]
        pairs = list(zip(COLUMNS, values, strict=True))
        board.scalars(number, {f"pseudo/{column.tag}": value for column, value in pairs if value is not None})
        shown = ["–" if value is None else column.form.format(value).rstrip("%") for column, value in pairs]
        rows.append([str(number), *shown])
    board.close()
    table = format_table(["iteration", *(column.heading for column in COLUMNS)], rows)
    atomic_write_text(args.folder / "table.txt", table + "\n")
    print(table)


if __name__ == "__main__":
    main()
