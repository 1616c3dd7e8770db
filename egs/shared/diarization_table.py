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

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.json_text import read_json
from sdpn.io.text import numbered_lines

PROTOCOLS = {
    "collar-0": "no collar, overlap scored",
    "collar-250": "collar of 0.25 s on each side of a boundary, overlap scored",
    "collar-250-single": "collar of 0.25 s on each side of a boundary, overlap left out",
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
    """The page.

    Raises:
        InputError: a result is damaged.
    """
    text = f"# {title}: DER in % on the test set\n\nEmpty rows are those that nobody has measured yet.\n"
    for protocol, meaning in PROTOCOLS.items():
        text += f"\n## {meaning.capitalize()}\n\n| system | DER | from |\n|:--|--:|:--|\n"
        rows = list(peers.get(protocol, []))
        for system, name in SYSTEMS.items():
            path = None if exp is None else exp / "results" / f"score.{system}.{protocol}.json"
            der = "" if path is None or not path.is_file() else f"{100 * _der(path):.1f}"
            rows.append([name, der, "`run.sh`"])
        text += "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return text


def _der(path: Path) -> float:
    document: Any = read_json(path, "results of 'sdpn score'")
    try:
        return float(document["results"]["total"]["der"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"has no DER ({error})", path=path) from None


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
