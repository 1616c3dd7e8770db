"""``sdpn backend``: a back end for verification, from unlabelled recordings."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.model_arguments import add_device_argument, add_model_arguments, load
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import STDIN, find_utterances

if TYPE_CHECKING:
    from sdpn.io.kaldi import Utterance

DESCRIPTION = """\
Train a scoring back end, PLDA followed by AS-norm, on recordings without speaker labels. It usually separates
speakers better than the cosine of embeddings. Each utterance is split into parts, and PLDA treats these parts
as the only utterances of one speaker; the utterances also serve as the AS-norm cohort. The recordings should
match those to be compared and contain hundreds of speakers, one per utterance.

The result is written to back_end.safetensors. If it lies in a model folder, 'sdpn compare' uses it; 'sdpn
verify --back-end' applies it to any embeddings of that model. The default model has one.

Every utterance and part is used twice: as recorded, and as heard over a telephone; with --noise, --rir or
both in noise (SNR 0 to 20 dB), half of the copies in a room and half over a telephone. --clean leaves the
copies out. Parts of an utterance say nothing of how recordings of a speaker differ, so the PLDA is moved
towards the cosine by --shrinkage (figures: docs/back_end.md).

Strangers of one corpus are more similar than those of a mixture, so give each corpus a --data of its own: the
false-alarm rates that 'sdpn compare' states are those of the corpus whose strangers are most similar.

--classes gives the speaker of each utterance where that is known: labels, or pseudo-labels
(docs/pseudo_labels.md).
"""

EXAMPLE = """\
  sdpn backend --model exp/mini/model --data data/train
  sdpn verify --trials data/dev/trials --embeddings dev.scp --back-end exp/mini/model
  sdpn backend --model exp/mini/model --data data/english --data data/mandarin
  sdpn backend --data data/telephone --out telephone.safetensors
  sdpn backend --out mine.safetensors recordings/
  sdpn backend --data data/train --noise data/noise --rir data/rir --out robust.safetensors
  sdpn backend --model exp/mini/model --data data/train --classes exp/mini/pseudo/1/labels
"""

#: Excluded utterances that are listed on the terminal.
_SHOWN = 5

OUTPUTS: dict[str, OutputKind] = {"out": "file"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn backend``."""
    add_model_arguments(parser)
    parser.add_argument(
        "audio",
        nargs="*",
        type=Path,
        metavar="AUDIO",
        help="files and folders of recordings, one speaker each",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="DIR",
        help="instead: a Kaldi data directory, or a folder of recordings; repeatable: each is a corpus",
    )
    add_audio_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write (default: back_end.safetensors in --model)"
    )
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="'utterance class' for every utterance, such as utt2spk or pseudo-labels (default: every "
        "utterance is its own class)",
    )
    parser.add_argument(
        "--noise", type=Path, metavar="DIR", help="data directory or folder of noises, see above"
    )
    parser.add_argument(
        "--rir",
        type=Path,
        metavar="DIR",
        help="data directory or folder of room impulse responses, see above",
    )
    parser.add_argument("--clean", action="store_true", help="without degraded copies, see above")
    parser.add_argument(
        "--shrinkage",
        type=float,
        default=0.7,
        metavar="S",
        help="0 keeps the PLDA of the parts, with 1 all directions count alike, as with the cosine "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--utterances",
        type=at_least(1),
        default=20_000,
        metavar="N",
        help="maximum number of utterances, drawn at random (default: %(default)s)",
    )
    parser.add_argument(
        "--parts", type=at_least(2), default=2, metavar="P", help="parts per utterance (default: %(default)s)"
    )
    parser.add_argument(
        "--cohort-size",
        type=at_least(2),
        default=3000,
        metavar="N",
        help="maximum size of the AS-norm cohort (default: %(default)s)",
    )
    parser.add_argument(
        "--top-n",
        type=at_least(2),
        default=300,
        metavar="N",
        help="AS-norm uses the N cohort members most similar to an utterance (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: 0)")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed the recordings, train the back end, and write it.

    Raises:
        InputError: model, data or classes cannot be read, there are too few utterances, or FILE cannot be
            written.
    """
    from sdpn.io.atomic import check_writable
    from sdpn.training.back_end import read_classes, some_utterances, train_back_end
    from sdpn.verification.learn_back_end import LearningConfig
    from sdpn.verification.storage import BACK_END, write_back_end

    config = LearningConfig(
        cohort=args.cohort_size,
        top=min(args.top_n, args.cohort_size),
        shrinkage=args.shrinkage,
        seed=args.seed,
    )
    if args.clean and not (args.noise is None and args.rir is None):
        raise InputError(
            "--clean leaves out the copies that --noise and --rir are for", hint="drop one of them"
        )
    out = args.out or _beside(args.model, BACK_END)
    if STDIN in args.audio:
        raise InputError("a back end is trained on many recordings, but standard input is one")
    check_writable(out)
    every, corpora = _corpora(args)
    utterances = some_utterances(every, args.utterances, seed=args.seed)
    classes = None if args.classes is None else read_classes(args.classes, utterances)
    meter = Meter(quiet=args.quiet)
    try:
        trained = train_back_end(
            load(args),
            utterances,
            config,
            classes=classes,
            corpora=corpora,
            noise=args.noise,
            rir=args.rir,
            clean=args.clean,
            max_utterances=args.utterances,
            parts=args.parts,
            on_progress=partial(meter.show, "embedding"),
        )
    finally:
        meter.finish()
    back_end = trained.back_end
    write_back_end(out, back_end)
    also = "" if args.clean else ", as recorded and degraded"
    print(
        f"{out}: PLDA trained on {trained.num_utterances} utterances in {args.parts} parts{also}, "
        f"{trained.num_classes} classes; AS-norm with the top {back_end.top} of {len(back_end.cohort_CD)} "
        "cohort utterances"
    )
    for share in (0.05, 0.02, 0.01):
        print(
            f"  {100 * share:.0f} % of different-speaker pairs score at least {back_end.threshold(share):.2f}"
        )
    if trained.left_out:
        print(f"{len(trained.left_out)} of {len(utterances)} utterances were excluded:")
        for name, why in list(trained.left_out.items())[:_SHOWN]:
            print(f"  {name}: {why}")
    return {
        "back_end": str(out.resolve()),
        "num_utterances": trained.num_utterances,
        "num_left_out": len(trained.left_out),
        "num_classes": trained.num_classes,
        "cohort": len(back_end.cohort_CD),
        "top": back_end.top,
    }


def _corpora(args: argparse.Namespace) -> tuple[list[Utterance], dict[str, str]]:
    """All utterances, and the ``--data`` of each."""
    from sdpn.io.kaldi import refuse_shared_ids

    folders = args.data or [None]
    parts = [
        find_utterances(data, args.audio, channel=args.channel, skip_bad=args.skip_bad) for data in folders
    ]
    utterances = [utterance for part in parts for utterance in part]
    refuse_shared_ids([one.id for one in utterances], args.data or [Path()], [len(part) for part in parts])
    return utterances, {one.id: str(data) for data, part in zip(folders, parts, strict=True) for one in part}


def _beside(model: Path | None, name: str) -> Path:
    """The path of a back end in a model folder."""
    if model is None:
        raise InputError(
            "the back end of the default model is not replaced", hint="choose another file with --out FILE"
        )
    if not model.is_dir():
        raise InputError(
            "is not a model folder, so the back end has no default location",
            path=model,
            hint="choose a file with --out FILE",
        )
    return model / name
