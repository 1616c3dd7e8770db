"""``sdpn compare``: one voice or two?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import STDIN, add_audio_arguments
from sdpn.cli.model_arguments import add_model_arguments, load, named_model
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from sdpn.verification.back_end import BackEnd

#: Strangers that are taken for one voice where nothing else is said.
_FALSE_ALARMS = 0.02

DESCRIPTION = """\
Say how alike the voices in two recordings are, and whether they count as one.

A model with a back end (the one that comes with sdpn has one, 'sdpn backend' learns one) scores by PLDA and
AS-norm: in standard deviations above what strangers reach. The decision accepts as many strangers as
--false-alarms says, measured on the unlabelled speech that the back end was learned from; in speech that is
more alike or worse it accepts more.

Without a back end, or with --cosine, the score is the cosine. Its threshold is the model's own, from its
calibration: 'verification_threshold', the cosine at the equal error rate of a list of trials, where
'sdpn verify --save-threshold MODEL' has put it there; or else 'ahc_threshold', which training measures
without labels, between the mean similarity of windows of one utterance and that of windows of different ones.
That one is for windows of 1.5 s and accepts too many whole utterances. A model without calibration gives a
score and no decision.
"""

EXAMPLE = """\
  sdpn compare a.wav b.wav
  sdpn compare --false-alarms 0.001 a.wav b.wav
  ffmpeg -i call.mkv -f wav - | sdpn compare a.wav -
  sdpn compare --model exp/mini/model a.wav b.wav
  sdpn compare --model campplus.bin --format 3dspeaker --threshold 0.33 a.wav b.wav
"""

_SAID = {
    "verification_threshold": "the model's calibration on trials, equal error rate",
    "ahc_threshold": "the model's calibration without labels, on windows of 1.5 s",
}

OUTPUTS: dict[str, OutputKind] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn compare``."""
    add_model_arguments(parser)
    parser.add_argument(
        "audio",
        nargs=2,
        type=Path,
        metavar="AUDIO",
        help="two recordings of one voice each; - is standard input",
    )
    add_audio_arguments(parser, separate=False, skip_bad=False)
    parser.add_argument("--threshold", type=float, metavar="T", help="score from which on it is one voice")
    parser.add_argument(
        "--false-alarms",
        type=float,
        metavar="P",
        help="with a back end: share of strangers that may count as one voice (default: 0.02)",
    )
    scores = parser.add_mutually_exclusive_group()
    scores.add_argument(
        "--back-end", type=Path, metavar="FILE", help="learned with this model (default: the model's own)"
    )
    scores.add_argument("--cosine", action="store_true", help="score by the cosine, whatever the model has")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed, compare, print.

    Raises:
        InputError: the model, its back end or a recording cannot be read, or an option is out of range.
    """
    from sdpn.errors import InputError
    from sdpn.metrics.similarity import similarity

    if args.false_alarms is not None and not 0 < args.false_alarms < 1:
        raise InputError(
            f"--false-alarms {args.false_alarms} is no share", hint="expected 0 to 1, such as 0.01"
        )
    if args.false_alarms is not None and args.threshold is not None:
        raise InputError("--threshold and --false-alarms both decide", hint="give one of them")
    if args.audio.count(STDIN) > 1:
        raise InputError("standard input can be read once only, and '-' is there twice")
    back_end = _back_end(args)
    if back_end is None and args.false_alarms is not None:
        raise InputError(
            "--false-alarms needs a back end", hint="'sdpn backend' learns one; cosines have --threshold"
        )
    if back_end is None and args.threshold is not None and not -1 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold} is no cosine", hint="expected -1 to 1")
    model = load(args)
    embeddings_2D = model.embed(list(args.audio), channel=args.channel)
    cosine = float(similarity(*embeddings_2D))
    if back_end is None:
        score = cosine
        strangers = None
        threshold, source = _threshold(args.threshold, model.calibration)
        print(f"score      {score:.4f}  (cosine)")
    else:
        score = _score(back_end, embeddings_2D)
        strangers = back_end.strangers_reaching(score)
        threshold, source = _accepting(back_end, args)
        print(f"score      {score:.2f}  (PLDA and AS-norm; {_in_percent(strangers)} of strangers reach it)")
        print(f"cosine     {cosine:.4f}")
    if threshold is None:
        print("decision   none: the model has no calibrated threshold (--threshold T sets one)")
    else:
        print(f"decision   {'the same speaker' if score >= threshold else 'different speakers'}")
        print(f"threshold  {threshold:.4f}  ({source})")
    return {
        "score": score,
        "scored_by": "cosine" if back_end is None else "back end",
        "cosine": cosine,
        "strangers_reaching": strangers,
        "threshold": threshold,
        "threshold_source": source,
        "same_speaker": None if threshold is None else score >= threshold,
    }


def _back_end(args: argparse.Namespace) -> BackEnd | None:
    """The back end that was named, or the model's own."""
    from sdpn.verification.storage import has_back_end, read_back_end

    if args.cosine:
        return None
    if args.back_end is not None:
        return read_back_end(args.back_end)
    model = named_model(args)
    return read_back_end(model) if has_back_end(model) else None


def _score(back_end: BackEnd, embeddings_2D: np.ndarray) -> float:
    import numpy as np

    return float(back_end.score(embeddings_2D, np.array([0]), np.array([1]))[0])


def _accepting(back_end: BackEnd, args: argparse.Namespace) -> tuple[float, str]:
    """The threshold of a back end, and in words where it comes from."""
    if args.threshold is not None:
        return args.threshold, "--threshold"
    share = _FALSE_ALARMS if args.false_alarms is None else args.false_alarms
    return back_end.threshold(share), f"which {_in_percent(share)} of strangers reach"


def _in_percent(share: float) -> str:
    return "fewer than 0.1 %" if share < 0.001 else f"{100 * share:.3g} %"


def _threshold(given: float | None, calibration: Mapping[str, float]) -> tuple[float | None, str | None]:
    """The threshold of a cosine, and in words where it comes from."""
    if given is not None:
        return given, "--threshold"
    for key, words in _SAID.items():
        if key in calibration:
            return float(calibration[key]), words
    return None, None
