"""``sdpn verify-receipt``: can a diarization be repeated?"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.cli.progress import Meter
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

DESCRIPTION = """\
Repeat the diarization of a JSON document of 'sdpn diarize --format json' from its receipt, and compare.

The receipt names audio, model, code and machine, with digests, and all options and settings. On the same kind
of machine, with the same versions, turns, talk times and embeddings come out the same bit for bit. Exit code
0: the document is as it was written, and the work gave the same; 1: it did not. A difference of audio, model,
code or machine alone is shown, and is no failure.
"""

EXAMPLE = """\
  sdpn verify-receipt out/meeting.json
  sdpn verify-receipt out/meeting.json --audio archive/meeting.wav --model models/mine
"""

OUTPUTS: dict[str, OutputKind] = {}

_WHAT = {
    "audio": "bytes of the audio",
    "model": "weights of the model",
    "people": "known people",
    "code": "source of sdpn",
    "machine": "versions and machine",
    "file": "document as written",
    "result": "result of the repetition",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn verify-receipt``."""
    parser.add_argument("document", type=Path, metavar="FILE", help="JSON document with a receipt")
    parser.add_argument("--audio", type=Path, metavar="FILE", help="the recording (default: where it was)")
    parser.add_argument(
        "--model",
        type=model_path,
        metavar="M",
        help="the model (default: where it was)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Repeat, compare, print.

    Raises:
        InputError: as `sdpn.receipt.verify_receipt`.
    """
    from sdpn.receipt import verify_receipt

    meter = Meter(quiet=args.quiet, unit="min of audio")
    try:
        check = verify_receipt(
            args.document, audio=args.audio, model=args.model, progress=partial(_show, meter)
        )
    finally:
        meter.finish()
    for line in check.lines:
        print(f"{_WHAT[line.what]:<24}  {'same' if line.same else 'DIFFERENT'}")
        if not line.same and line.what in ("machine", "code", "model", "audio", "people"):
            print(f"  then {line.receipt}\n  now  {line.found}")
    if check.differing:
        print(f"these differ: {', '.join(check.differing)}")
    print("repeated" if check.repeated else "NOT repeated")
    return check.to_dict()


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:  # noqa: ARG001
    """1 where the document or the repetition differs."""
    return int(not results["repeated"])


def _show(meter: Meter, done_s: float, total_s: float | None) -> None:
    meter.show("repeating", round(done_s / 60, 1), None if total_s is None else round(total_s / 60, 1))
