"""``sdpn edit``: corrections of who spoke when."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.cli.progress import Meter
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

DESCRIPTION = """\
Correct who spoke when in a JSON document of 'sdpn diarize --format json', and let the corrections propagate.

  --is TIME NAME         the turn at TIME (seconds) is spoken by NAME, who may be new
  --same NAME NAME       these two are one person
  --different TIME TIME  the turns at these times are of two people: divides a speaker

A corrected turn keeps its speaker, and other speech follows: windows of the speakers concerned are
clustered again under these constraints, so that one correction also moves what sounds the same. Speakers
whom no correction concerns stay as they are. Corrections are kept in the document: the next 'sdpn edit'
adds to them. Corrections that contradict each other are refused, both named. The recording is embedded
again, from where the document says that it is.
"""

EXAMPLE = """\
  sdpn diarize --format json --out out/ meeting.wav
  sdpn edit out/meeting.json --is 83.5 "Anna Lee" --out corrected/
  sdpn edit corrected/meeting.json --same speaker01 speaker03 --different 12 340.2 --out corrected/
  sdpn edit out/meeting.json --corrections corrections.txt --out corrected/
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn edit``."""
    parser.add_argument("document", type=Path, metavar="FILE", help="JSON document with a receipt")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="writes DIR/<name>.json")
    parser.add_argument(
        "--format",
        dest="turn_formats",
        type=lambda text: tuple(text.split(",")),
        default=("json",),
        metavar="F,F,...",
        help="formats to write, as of 'sdpn diarize' (default: json)",
    )
    corrections = parser.add_argument_group("corrections, any number of each")
    corrections.add_argument(
        "--is",
        dest="is_",
        nargs=2,
        action="append",
        default=[],
        metavar=("TIME", "NAME"),
        help="who speaks at a time",
    )
    corrections.add_argument(
        "--same", nargs=2, action="append", default=[], metavar=("NAME", "NAME"), help="two are one"
    )
    corrections.add_argument(
        "--different",
        nargs=2,
        action="append",
        default=[],
        metavar=("TIME", "TIME"),
        help="one is two, who speak at these times",
    )
    corrections.add_argument(
        "--corrections",
        type=Path,
        metavar="FILE",
        help="lines such as: is 83.5 NAME; same NAME NAME; different 12 340.2",
    )
    parser.add_argument("--audio", type=Path, metavar="FILE", help="the recording (default: where it was)")
    parser.add_argument("--model", type=model_path, metavar="M", help="the model (default: where it was)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Correct, write, print.

    Raises:
        InputError: as `sdpn.editing.edit.edit_document`, or there is no correction.
    """
    from sdpn.editing.corrections import parse_correction, read_corrections
    from sdpn.editing.edit import edit_document

    corrections = [] if args.corrections is None else read_corrections(args.corrections)
    for kind, given in (("is", args.is_), ("same", args.same), ("different", args.different)):
        corrections += [parse_correction([kind, *pair]) for pair in given]
    if not corrections:
        raise InputError("no correction is given", hint="for example --is 83.5 NAME, or --corrections FILE")
    meter = Meter(quiet=args.quiet, unit="min of audio")
    try:
        done = edit_document(
            args.document,
            corrections,
            args.out,
            args.turn_formats,
            audio=args.audio,
            model=args.model,
            progress=partial(_show, meter),
        )
    finally:
        meter.finish()
    made = done["num_corrections"]
    corrections_made = f"{made} correction{'' if made == 1 else 's'}"
    print(
        f"{done['recording']}: {done['num_speakers']} speakers, {done['num_turns']} turns; "
        f"{done['moved_s']:.1f} s have another speaker than before, by {corrections_made}"
    )
    print(", ".join(done["outputs"].values()))
    return done


def _show(meter: Meter, done_s: float, total_s: float | None) -> None:
    meter.show("reading", round(done_s / 60, 1), None if total_s is None else round(total_s / 60, 1))
