#!/usr/bin/env python3
"""A split of AliMeeting: the first channel of the far-field array.

    CORPUS/Eval_Ali/Eval_Ali_far/audio_dir/R8001_M8004_MS801.wav
    CORPUS/Eval_Ali/Eval_Ali_far/textgrid_dir/R8001_M8004.TextGrid    a tier for each speaker

dev is Eval, and test is Test_Ali. The folder Eval_Ali or Test_Ali may be missing around Eval_Ali_far.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from praatio import textgrid

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.corpus import as_word
from sdpn.io.parsing import parsing
from sdpn.io.rttm import Turn
from sdpn.io.text import read_text

# also without path.sh
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from prepare_diarization import Split, recordings_below, require_folder, run

#: Meetings of Eval and Test (https://openslr.org/119).
COUNTS = {"dev": 8, "test": 20}

_ARRAY = re.compile(r"_MS\d+$")
#: Praat's long format: the numbers of tiers and of the intervals of each, and the last line of an interval.
_TIERS = re.compile(r"^size = (\d+)", re.MULTILINE)
_INTERVALS = re.compile(r"^\s*intervals: size = (\d+)", re.MULTILINE)
_INTERVAL = re.compile(r"^\s*text = \".*\"\s*$", re.MULTILINE)


def read_meeting(path: Path) -> list[Turn]:
    """Turns of a TextGrid: intervals with text; the name of a tier ends with that of its speaker.

    Raises:
        InputError: it is no TextGrid, or ends early.
    """
    text = read_text(path)
    tiers, sizes = (list(map(int, pattern.findall(text))) for pattern in (_TIERS, _INTERVALS))
    if sum(tiers) > len(sizes) or sum(sizes) > len(_INTERVAL.findall(text)):  # praatio takes what is there
        raise InputError("ends before its last interval", path=path, hint="unpack the corpus again")
    with parsing(path, "is not a TextGrid"):
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, duplicateNamesMode="rename")
    return sorted(
        Turn(path.stem, start, end - start, as_word(tier.name))
        for tier in grid.tiers
        for start, end, text in tier.entries
        if text.strip() and end > start
    )


def find(args: argparse.Namespace) -> Split:
    """The split."""
    part = "Eval" if args.split == "dev" else "Test"
    inside = args.corpus / f"{part}_Ali"
    folder = require_folder((inside if inside.is_dir() else args.corpus) / f"{part}_Ali_far")
    files = sorted(require_folder(folder / "textgrid_dir").glob("*.TextGrid"))
    if not files:
        raise InputError("there are no *.TextGrid", path=folder / "textgrid_dir")
    reference = {path.stem: read_meeting(path) for path in files}
    audio = recordings_below(
        folder / "audio_dir", reference, lambda stem: _ARRAY.sub("", stem), named="{}_MS*.wav"
    )
    return Split(audio=audio, reference=reference, count=COUNTS[args.split], channel=0)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")


if __name__ == "__main__":
    sys.exit(main())
