"""``sdpn compare``: one voice or two?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_model_arguments, load

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION = """\
Print the cosine similarity of the voices in two recordings, and whether it reaches the threshold from which
on they count as one.

The threshold is that of --threshold; else the model's own, from its calibration: 'verification_threshold',
the cosine at the equal error rate of a list of trials, where 'sdpn verify --save-threshold MODEL' has put it
there; or else 'ahc_threshold', which training measures without labels, between the mean similarity of windows
of one utterance and that of windows of different ones. That one is for windows of 1.5 s and accepts too many
whole utterances. A model without calibration gives a score and no decision.
"""

EXAMPLE = """\
  sdpn compare a.wav b.wav
  sdpn compare --model exp/mini/model a.wav b.wav
  sdpn compare --model campplus.bin --format 3dspeaker --threshold 0.33 a.wav b.wav
"""

_SAID = {
    "verification_threshold": "the model's calibration on trials, equal error rate",
    "ahc_threshold": "the model's calibration without labels, on windows of 1.5 s",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn compare``."""
    add_model_arguments(parser)
    parser.add_argument("audio", nargs=2, type=Path, metavar="AUDIO", help="two recordings of one voice each")
    parser.add_argument("--threshold", type=float, metavar="T", help="cosine from which on it is one voice")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed, compare, print.

    Raises:
        InputError: the model or a recording cannot be read, or the threshold is no cosine.
    """
    from sdpn.errors import InputError

    if args.threshold is not None and not -1 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold} is no cosine", hint="expected -1 to 1")

    from sdpn.metrics.similarity import similarity

    model = load(args)
    score = float(similarity(*model.embed(list(args.audio))))
    threshold, source = _threshold(args.threshold, model.calibration)
    print(f"score      {score:.4f}  (cosine)")
    if threshold is None:
        print("decision   none: the model has no calibrated threshold (--threshold T sets one)")
    else:
        same = score >= threshold
        print(f"decision   {'the same speaker' if same else 'different speakers'}")
        print(f"threshold  {threshold:.4f}  ({source})")
    return {
        "score": score,
        "threshold": threshold,
        "threshold_source": source,
        "same_speaker": None if threshold is None else score >= threshold,
    }


def _threshold(given: float | None, calibration: Mapping[str, float]) -> tuple[float | None, str | None]:
    """The threshold, and in words where it comes from."""
    if given is not None:
        return given, "--threshold"
    for key, words in _SAID.items():
        if key in calibration:
            return float(calibration[key]), words
    return None, None
