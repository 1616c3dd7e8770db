#!/usr/bin/env python3
"""One table of all iterations of pseudo-label training, also as TensorBoard curves over the iterations.

    local/pseudo_table.py EXP/pseudo --rounds 2 --first EXP/results/verify.trained.json

Row 0 is the network that the first clusters come from; row i tells of the clusters that round i has learned
and of the network that it made of them. Reads i/labels.json and i/verify.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sdpn.cli.table import format_table
from sdpn.io.atomic import atomic_write_text
from sdpn.tracking.board import Board

#: Column -> where its value is: file of an iteration, key of its results, how it is shown.
COLUMNS = {
    "clusters": ("labels", "clusters", "{:d}"),
    "NMI": ("labels", "nmi", "{:.3f}"),
    "purity": ("labels", "purity", "{:.3f}"),
    "EER %": ("verify", "eer", "{:.2%}"),
    "minDCF": ("verify", "min_dcf_001", "{:.3f}"),
}


def read_results(path: Path | None) -> dict[str, Any]:
    """Results in a JSON file; nothing where there is none."""
    if path is None or not path.is_file():
        return {}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


def main() -> None:
    """Read, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with one folder for each iteration: 1, 2, …")
    parser.add_argument("--rounds", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--first", type=Path, metavar="JSON", help="verification of the first network")
    args = parser.parse_args()
    iterations = [{"labels": {}, "verify": read_results(args.first)}]
    for number in range(1, args.rounds + 1):
        folder = args.folder / str(number)
        iterations.append({name: read_results(folder / f"{name}.json") for name in ("labels", "verify")})
    board = Board(args.folder / "tensorboard", start_step=0)
    rows = []
    for number, parts in enumerate(iterations):
        values = {column: parts[file].get(key) for column, (file, key, _) in COLUMNS.items()}
        curves = {
            f"pseudo/{COLUMNS[column][1]}": value for column, value in values.items() if value is not None
        }
        board.scalars(number, curves)
        shown = [
            "–" if value is None else COLUMNS[column][2].format(value).rstrip("%")
            for column, value in values.items()
        ]
        rows.append([str(number), *shown])
    board.close()
    table = format_table(["iteration", *COLUMNS], rows)
    atomic_write_text(args.folder / "table.txt", table + "\n")
    print(table)


if __name__ == "__main__":
    main()
