#!/usr/bin/env python3
"""Write the table of results, RESULTS.md, from experiments of run.sh: published rows beside ours.

    local/voxceleb_results.py                              the table before there are results: RESULTS.md
    local/voxceleb_results.py exp/published exp/ours       with these

EER in %, with its interval, on the cleaned O, E and H trials of VoxCeleb1. Rows say who measured them.
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

# also without path.sh
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from provenance import origin

LISTS = ("O", "E", "H")
SYSTEMS = {
    "sdpn": "SDPN",
    "averaged": "SDPN, mean of the last checkpoints",
    "pseudo": "SDPN, pseudo-labels",
    "distilled": "student of them",
}
#: Configuration -> what was published for SDPN with it (arXiv 2308.02774; with the regulariser 2505.13826).
PUBLISHED = {
    "published": ("SDPN of the paper", "cosine", ("1.80", "1.99", "3.62")),
    "regularised": ("SDPN with dimension regulariser, of its paper", "AS-norm", ("1.29", "1.60", "2.80")),
}
_HEAD = """\
# VoxCeleb: EER in % on the cleaned trials of VoxCeleb1

Trained on VoxCeleb2 dev without labels. Intervals of 95 %, over speakers. Published rows are as published;
the others are measured by this recipe, and empty where nobody has run it yet: the command in the row fills
them.

| system | scores | O | E | H | from |
|:--|:--|--:|--:|--:|:--|
"""


def rows_of(name: str, exp: Path | None) -> list[list[str]]:
    """The rows of one experiment; empty ones without it.

    Raises:
        InputError: a file of results is damaged.
    """
    rows = []
    command = f"`run.sh --config {name}`"
    for system, title in SYSTEMS.items():
        for scores, ending in (("cosine", ""), ("AS-norm", "-as-norm")):
            cells = []
            for trials in LISTS:
                path = None if exp is None else exp / "results" / f"verify.{system}-{trials}{ending}.json"
                cells.append(_cell(path) if path is not None and path.is_file() else "")
            if exp is None or any(cells):
                rows.append([f"{title}, {name}", scores, *cells, command if exp is None else exp.name])
    return rows


def _cell(path: Path) -> str:
    document: Any = read_json(path, "results of 'sdpn verify'")
    try:
        found = document["results"]
        return f"{100 * found['eer']:.2f} [{100 * found['eer_low']:.2f}, {100 * found['eer_high']:.2f}]"
    except (KeyError, TypeError) as error:
        raise InputError(f"has no EER ({error})", path=path, hint="is it of 'sdpn verify --json'?") from None


def table(experiments: Sequence[Path]) -> str:
    """The page.

    Raises:
        InputError: an experiment has no results.
    """
    given = {exp.name: exp for exp in experiments}
    lines = []
    for name in dict.fromkeys([*PUBLISHED, "ours", *given]):
        if name in PUBLISHED:
            title, scores, cells = PUBLISHED[name]
            lines.append([title, scores, *cells, "the paper"])
        exp = given.get(name)
        found = rows_of(name, exp)
        if not found:
            raise InputError("has no results/verify.*.json", path=exp, hint="run its stages up to 7")
        lines += found
    text = _HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if experiments:
        text += f"\n{origin(_seed(exp / 'sdpn' / 'config.yaml') for exp in experiments)}\n"
    return text


def _seed(path: Path) -> str:
    from sdpn.io.yaml_text import read_yaml

    if not path.is_file():
        return "not known"
    document: Any = read_yaml(path)
    return str(document.get("training", {}).get("seed", "not known"))


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("experiments", type=Path, nargs="*", metavar="EXP", help="experiments of run.sh")
    args = parser.parse_args(argv)
    print(table([exp.resolve() for exp in args.experiments]), end="")


if __name__ == "__main__":
    sys.exit(main())
