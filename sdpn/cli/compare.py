"""``sdpn compare``: do two recordings have the same speaker?"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.model_arguments import (
    add_model_arguments,
    add_precision_argument,
    add_runtime_argument,
    load_for_runtime,
)
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import STDIN
from sdpn.pretrained import model_path

DESCRIPTION = """\
Score how similar the speakers of two recordings are, and decide whether they are the same.

A model with a back end (the default model has one; 'sdpn backend' trains one) scores by PLDA and AS-norm: in
standard deviations above the scores of different speakers. The threshold is set for the false-alarm rate of
--false-alarms among speakers of one corpus that the back end was trained on, that with the most similar ones;
on noisier speech, or among still more similar speakers, more different speakers are accepted.

A calibrated back end also gives a log-likelihood ratio: how much more probable such a score is from one
speaker than from two, with the lengths of the recordings taken into account. It says nothing about how
probable one speaker was before; times those odds it gives the odds after.

Without a back end, or with --cosine, the score is the cosine. Its threshold comes from the model's
calibration: 'verification_threshold', the cosine at the equal error rate of a trial list, if 'sdpn verify
--save-threshold MODEL' has stored it; otherwise 'ahc_threshold', estimated without labels during training:
slightly above the midpoint of the mean similarities of windows of the same utterance and of different ones.
It applies to windows of 1.5 s and accepts too many pairs of whole utterances. Without any calibration there
is a score but no decision.
"""

EXAMPLE = """\
  sdpn compare a.wav b.wav
  sdpn compare --false-alarms 0.001 a.wav b.wav
  ffmpeg -i call.mkv -f wav - | sdpn compare a.wav -
  sdpn compare --model exp/mini/model a.wav b.wav
  sdpn compare --model campplus.bin --format 3dspeaker --threshold 0.33 a.wav b.wav
"""

#: Where a calibrated threshold comes from.
_CALIBRATED = {
    "verification_threshold": "model calibration: equal error rate on trials",
    "ahc_threshold": "model calibration: without labels, on windows of 1.5 s",
}

OUTPUTS: dict[str, OutputKind] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn compare``."""
    add_model_arguments(parser)
    add_runtime_argument(parser)
    add_precision_argument(parser)
    parser.add_argument(
        "audio",
        nargs=2,
        type=Path,
        metavar="AUDIO",
        help="two recordings with one speaker each; - is standard input",
    )
    add_audio_arguments(parser, separate=False, skip_bad=False)
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="accept as the same speaker from this score on"
    )
    parser.add_argument(
        "--false-alarms",
        type=float,
        metavar="P",
        help="with a back end: false-alarm rate, the share of different-speaker pairs to accept (default: "
        "0.05)",
    )
    scores = parser.add_mutually_exclusive_group()
    scores.add_argument(
        "--back-end",
        type=Path,
        metavar="FILE",
        help="back end trained with this model (default: the model's own)",
    )
    scores.add_argument(
        "--cosine", action="store_true", help="score by the cosine even if the model has a back end"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed, compare, print.

    Raises:
        InputError: the model, its back end or a recording cannot be read, or an option is out of range.
    """
    from sdpn.errors import InputError
    from sdpn.verification.compare import FALSE_ALARMS, check_decision, compare
    from sdpn.verification.storage import own_back_end, read_back_end

    if args.audio.count(STDIN) > 1:
        raise InputError("'-' is given twice, but standard input can be read only once")
    decision = {"threshold": args.threshold, "false_alarms": args.false_alarms}
    back_end = None
    if args.back_end is not None:
        back_end = read_back_end(args.back_end)
    elif not args.cosine:
        back_end = own_back_end(model_path(args.model))
    check_decision(back_end, **decision)  # before the model is loaded
    model = load_for_runtime(args)
    if back_end is not None:
        back_end.refuse_other_model(model.weights_digest, path=model_path(args.model))
    found = compare(model, *args.audio, back_end=back_end, channel=args.channel, **decision)
    source = None
    if found.source == "given":
        source = "--threshold"
    elif found.source == "false alarms":
        source = f"false-alarm rate {_in_percent(args.false_alarms or FALSE_ALARMS)}"
    elif found.source is not None:
        source = _CALIBRATED[found.source]
    if found.strangers_reaching is None:
        print(f"score      {found.score:.4f}  (cosine)")
    else:
        reach = f"{_in_percent(found.strangers_reaching)} of different-speaker pairs reach it"
        print(f"score      {found.score:.2f}  (PLDA and AS-norm; {reach})")
        print(f"cosine     {found.cosine:.4f}")
        if found.log_ratio is not None:
            print(f"ratio      {_in_words(found.log_ratio)}  (log-likelihood ratio {found.log_ratio:+.2f})")
    if found.threshold is None:
        print("decision   none: the model has no calibrated threshold (--threshold T sets one)")
    else:
        print(f"decision   {'the same speaker' if found.same_speaker else 'different speakers'}")
        print(f"threshold  {found.threshold:.4f}  ({source})")
    return {
        "score": found.score,
        "scored_by": "cosine" if back_end is None else "back end",
        "cosine": found.cosine,
        "log_ratio": found.log_ratio,
        "strangers_reaching": found.strangers_reaching,
        "threshold": found.threshold,
        "threshold_source": source,
        "same_speaker": found.same_speaker,
    }


def _in_words(log_ratio: float) -> str:
    """How many times as probable the scores are under one hypothesis as under the other."""
    times = min(math.exp(abs(log_ratio)), 1e6)
    side = "one speaker than from two" if log_ratio >= 0 else "two speakers than from one"
    return f"{times:,.1f} times as likely from {side}"


def _in_percent(share: float) -> str:
    return "fewer than 0.1 %" if share < 0.001 else f"{100 * share:.3g} %"
