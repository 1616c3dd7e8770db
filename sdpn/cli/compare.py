"""``sdpn compare``: do two recordings have the same speaker?"""

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

#: Default share of different-speaker pairs that are accepted.
_FALSE_ALARMS = 0.02

DESCRIPTION = """\
Score how similar the speakers of two recordings are, and decide whether they are the same.

A model with a back end (the default model has one; 'sdpn backend' trains one) scores by PLDA and AS-norm: in
standard deviations above the scores of different speakers. The threshold is set for the false-alarm rate of
--false-alarms on the unlabelled speech that the back end was trained on; on noisier speech, or among more
similar voices, more different speakers are accepted.

Without a back end, or with --cosine, the score is the cosine. Its threshold comes from the model's
calibration: 'verification_threshold', the cosine at the equal error rate of a trial list, if 'sdpn verify
--save-threshold MODEL' has stored it; otherwise 'ahc_threshold', estimated without labels during training:
the midpoint between the mean similarities of windows of the same utterance and of different utterances. The
latter applies to windows of 1.5 s and accepts too many pairs of whole utterances. Without any calibration
there is a score but no decision.
"""

EXAMPLE = """\
  sdpn compare a.wav b.wav
  sdpn compare --false-alarms 0.001 a.wav b.wav
  ffmpeg -i call.mkv -f wav - | sdpn compare a.wav -
  sdpn compare --model exp/mini/model a.wav b.wav
  sdpn compare --model campplus.bin --format 3dspeaker --threshold 0.33 a.wav b.wav
"""

_SAID = {
    "verification_threshold": "model calibration: equal error rate on trials",
    "ahc_threshold": "model calibration: without labels, on windows of 1.5 s",
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
        "0.02)",
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
    from sdpn.verification.similarity import similarity

    if args.false_alarms is not None and not 0 < args.false_alarms < 1:
        raise InputError(
            f"--false-alarms {args.false_alarms} is not a rate", hint="expected 0 to 1, such as 0.01"
        )
    if args.false_alarms is not None and args.threshold is not None:
        raise InputError("--threshold and --false-alarms exclude each other", hint="give one of them")
    if args.audio.count(STDIN) > 1:
        raise InputError("standard input can be read once only, and '-' is there twice")
    back_end = _back_end(args)
    if back_end is None and args.false_alarms is not None:
        raise InputError(
            "--false-alarms needs a back end",
            hint="train one with 'sdpn backend', or set --threshold for cosines",
        )
    if back_end is None and args.threshold is not None and not -1 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold} is not a cosine", hint="expected -1 to 1")
    model = load(args)
    if back_end is not None:
        from sdpn.models.weights import weights_digest

        back_end.refuse_other_model(weights_digest(model.encoder), path=named_model(args))
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
        print(
            f"score      {score:.2f}  (PLDA and AS-norm; {_in_percent(strangers)} of different-speaker "
            "pairs reach it)"
        )
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
    """The back end given by --back-end, or the model's own."""
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
    """The threshold of a back end, and a description of its source."""
    if args.threshold is not None:
        return args.threshold, "--threshold"
    share = _FALSE_ALARMS if args.false_alarms is None else args.false_alarms
    return back_end.threshold(share), f"false-alarm rate {_in_percent(share)}"


def _in_percent(share: float) -> str:
    return "fewer than 0.1 %" if share < 0.001 else f"{100 * share:.3g} %"


def _threshold(given: float | None, calibration: Mapping[str, float]) -> tuple[float | None, str | None]:
    """The threshold of a cosine, and a description of its source."""
    if given is not None:
        return given, "--threshold"
    for key, words in _SAID.items():
        if key in calibration:
            return float(calibration[key]), words
    return None, None
