#!/usr/bin/env python3
"""Table of DERs in Markdown: one for each protocol, for figures of unlike protocols cannot be compared.

    shared/diarization_table.py --title AMI --peers peers.txt [EXP]

Lines of the peers are 'protocol | system | DER in % | where it is published'; a protocol is part of the
name of a result file of run.sh, EXP/results/score.<system>.<protocol>.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provenance import origin

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.json_text import read_json
from sdpn.io.text import numbered_lines

_COLLARS = {
    "collar-0": "no collar, overlap scored",
    "collar-250": "collar of 0.25 s on each side of a boundary, overlap scored",
    "collar-250-single": "collar of 0.25 s on each side of a boundary, overlap left out",
}
#: Collar, overlap and who finds speech.
PROTOCOLS = {
    **{name: f"{meaning}, speech found by the system" for name, meaning in _COLLARS.items()},
    **{f"{name}-oracle": f"{meaning}, speech given by the reference" for name, meaning in _COLLARS.items()},
}
SYSTEMS = {"default": "sdpn, defaults", "tuned": "sdpn, tuned on dev"}


def read_peers(path: Path) -> dict[str, list[list[str]]]:
    """Rows of peers by protocol.

    Raises:
        InputError: a line has not four fields, or the protocol is unknown.
    """
    rows: dict[str, list[list[str]]] = {}
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 4 or fields[0] not in PROTOCOLS:
            raise InputError(
                f"expected 'protocol | system | DER | source', found {line!r}",
                path=path,
                line=number,
                hint=f"protocols are {', '.join(PROTOCOLS)}",
            )
        rows.setdefault(fields[0], []).append(fields[1:])
    return rows


def table(title: str, peers: dict[str, list[list[str]]], exp: Path | None) -> str:
    """The page; a protocol with given speech is on it where peers or results are.

    Raises:
        InputError: a result is damaged.
    """
    text = (
        f"# {title}: DER in % on the test set\n\n"
        "Published rows are as published. In brackets, 95 % intervals over recordings.\n"
        "Empty rows are those that nobody has measured yet: the command fills them.\n"
    )
    seeds: list[object] = []
    for protocol, meaning in PROTOCOLS.items():
        cells = {}
        for system in SYSTEMS:
            path = None if exp is None else exp / "results" / f"score.{system}.{protocol}.json"
            if path is not None and path.is_file():
                cells[system], seed = _cell(path)
                seeds.append(seed)
        rows = list(peers.get(protocol, []))
        if protocol.endswith("-oracle") and not rows and not cells:
            continue
        rows += [[name, cells.get(system, ""), "`run.sh`"] for system, name in SYSTEMS.items()]
        text += f"\n## {meaning.capitalize()}\n\n| system | DER | from |\n|:--|--:|:--|\n"
        text += "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return text if exp is None else f"{text}\n{origin(seeds)}\n"


def _cell(path: Path) -> tuple[str, object]:
    """DER with its interval, and the seed of that."""
    document: Any = read_json(path, "results of 'sdpn score'")
    try:
        results = document["results"]
        cell = f"{100 * float(results['total']['der']):.1f}"
        if results["intervals"] is not None:
            low, high = results["intervals"]["der"]
            cell += f" [{100 * low:.1f}, {100 * high:.1f}]"
        return cell, document["configuration"]["seed"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"has no DER ({error})", path=path, hint="is it of 'sdpn score --json'?") from None


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--title", required=True)
    parser.add_argument("--peers", type=Path, required=True, metavar="FILE")
    parser.add_argument("exp", type=Path, nargs="?", metavar="EXP", help="experiment of run.sh")
    args = parser.parse_args(argv)
    print(table(args.title, read_peers(args.peers), args.exp), end="")


if __name__ == "__main__":
    sys.exit(main())
