"""``sdpn backend``: a back end for verification, from unlabelled recordings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import STDIN, add_audio_arguments, find_utterances
from sdpn.cli.model_arguments import add_model_arguments, load
from sdpn.cli.progress import Meter
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdpn.augmentation.conditions import Condition
    from sdpn.io.kaldi import Utterance

DESCRIPTION = """\
Learn to score pairs of utterances better than by the cosine of their embeddings: by PLDA and AS-norm, from
recordings of which nobody knows who speaks. PLDA takes the parts of an utterance for all that is known of one
speaker, and the utterances are AS-norm's cohort. The recordings should sound like those that will be
compared, and hold hundreds of speakers; each utterance one.

The result is a file, back_end.safetensors. In a model folder, 'sdpn compare' uses it, and 'sdpn verify
--back-end' does with any embeddings of that model. The model that comes with sdpn has one.

Learned from clean speech alone it is at its best on clean speech, and in noise worse than the cosine. With
--noise, --rir or both, PLDA also gets every part in noise at 0 to 20 dB, and every second one in a room:
better than the cosine in noise, and less good without. docs/back_end.md has the figures.

--classes says which utterances have one speaker, as far as that is known: labels, or pseudo-labels
(docs/pseudo_labels.md).
"""

EXAMPLE = """\
  sdpn backend --model exp/mini/model --data data/train
  sdpn verify --trials data/dev/trials --embeddings dev.scp --back-end exp/mini/model
  sdpn backend --data data/telephone --out telephone.safetensors
  sdpn backend --out mine.safetensors recordings/
  sdpn backend --data data/train --noise data/noise --rir data/rir --out robust.safetensors
  sdpn backend --model exp/mini/model --data data/train --classes exp/mini/pseudo/1/labels
"""

#: Utterances that were left out and are named on the terminal.
_SHOWN = 5

OUTPUTS: dict[str, OutputKind] = {"out": "file"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn backend``."""
    add_model_arguments(parser)
    parser.add_argument(
        "audio", nargs="*", type=Path, metavar="AUDIO", help="files and folders of recordings, one voice each"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="instead: a Kaldi data directory, or a folder of recordings"
    )
    add_audio_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write (default: back_end.safetensors in --model)"
    )
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="'utterance class' for every utterance, such as a utt2spk or pseudo-labels (default: every "
        "utterance is a class of its own)",
    )
    parser.add_argument("--noise", type=Path, metavar="DIR", help="data directory of noises, see above")
    parser.add_argument("--rir", type=Path, metavar="DIR", help="data directory of room impulse responses")
    parser.add_argument(
        "--utterances",
        type=_count,
        default=20_000,
        metavar="N",
        help="most that are listened to, drawn from all (default: %(default)s)",
    )
    parser.add_argument(
        "--parts", type=_several, default=2, metavar="P", help="of each utterance (default: %(default)s)"
    )
    parser.add_argument(
        "--cohort", type=_several, default=3000, metavar="N", help="most in AS-norm's (default: %(default)s)"
    )
    parser.add_argument(
        "--top-n",
        type=_several,
        default=300,
        metavar="N",
        help="of the cohort, those most like an utterance normalise its scores (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of what is drawn (default: 0)")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N (default: cpu)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Listen, learn, write.

    Raises:
        InputError: model, data or classes cannot be read, there are too few utterances, or FILE cannot be
            written.
    """
    import numpy as np

    from sdpn.extraction.embed_parts import embed_parts
    from sdpn.io.atomic import check_writable
    from sdpn.models.weights import weights_digest
    from sdpn.verification.learn import LearningConfig, learn_back_end
    from sdpn.verification.storage import BACK_END, write_back_end

    config = LearningConfig(cohort=args.cohort, top=min(args.top_n, args.cohort), seed=args.seed)
    out = args.out or _beside(args.model, BACK_END)
    if STDIN in args.audio:
        raise InputError("a back end is learned from many recordings, standard input is one")
    check_writable(out)
    utterances = find_utterances(args.data, args.audio, channel=args.channel, skip_bad=args.skip_bad)
    if len(utterances) > args.utterances:
        kept = np.random.default_rng(args.seed).permutation(len(utterances))[: args.utterances]
        utterances = [utterances[index] for index in np.sort(kept)]
    degrade = _condition(args.noise, args.rir)
    classes = None if args.classes is None else _classes(args.classes, utterances)
    model = load(args, device=args.device)
    meter = Meter(quiet=args.quiet)
    try:
        heard = embed_parts(
            model,
            utterances,
            parts=args.parts,
            degrade=degrade,
            seed=args.seed,
            on_progress=partial(meter.show, "embedding"),
        )
    finally:
        meter.finish()
    back_end = learn_back_end(
        heard.whole_ND,
        heard.parts_NPD,
        config,
        classes_N=None if classes is None else np.array([classes[name] for name in heard.ids]),
    )
    write_back_end(out, replace(back_end, model=weights_digest(model.encoder)))
    num_classes = len(heard.ids) if classes is None else len({classes[name] for name in heard.ids})
    also = "" if degrade is None else ", clean and degraded"
    print(
        f"{out}: PLDA of {len(heard.ids)} utterances in {args.parts} parts{also}, {num_classes} classes; "
        f"AS-norm by the {back_end.top} of {len(back_end.cohort_CD)} most alike"
    )
    for share in (0.05, 0.02, 0.01):
        print(f"  {100 * share:.0f} % of strangers reach a score of {back_end.threshold(share):.2f}")
    if heard.left_out:
        print(f"{len(heard.left_out)} of {len(utterances)} utterances were left out:")
        for name, why in list(heard.left_out.items())[:_SHOWN]:
            print(f"  {name}: {why}")
    return {
        "back_end": str(out.resolve()),
        "num_utterances": len(heard.ids),
        "num_left_out": len(heard.left_out),
        "num_classes": num_classes,
        "cohort": len(back_end.cohort_CD),
        "top": back_end.top,
    }


def _condition(noise: Path | None, rir: Path | None) -> Condition | None:
    """What parts are degraded by."""
    from sdpn.augmentation.conditions import measured_room, noise_at, one_after_another, sometimes
    from sdpn.io.kaldi import read_data_dir

    conditions: list[Condition] = []
    if rir is not None:
        room = measured_room([entry.read() for entry in read_data_dir(rir)])
        conditions.append(sometimes(0.5, room))
    if noise is not None:
        conditions.append(noise_at([entry.read() for entry in read_data_dir(noise)], (0.0, 20.0)))
    return one_after_another(*conditions) if conditions else None


def _beside(model: Path | None, name: str) -> Path:
    """The place of a back end in the folder of a model."""
    if model is None:
        raise InputError(
            "the model that comes with sdpn keeps the back end that it has", hint="--out FILE names another"
        )
    if not model.is_dir():
        raise InputError("is no folder that a back end could join", path=model, hint="--out FILE names one")
    return model / name


def _classes(path: Path, utterances: Sequence[Utterance]) -> dict[str, str]:
    from sdpn.io.kaldi import read_table

    classes = read_table(path)
    missing = [utterance.id for utterance in utterances if utterance.id not in classes]
    if missing:
        raise InputError(
            f"has no class for {missing[0]!r} ({len(missing)} of {len(utterances)} utterances have none)",
            path=path,
            hint="a line 'utterance class' for every utterance of --data was expected",
        )
    return classes


def _count(text: str) -> int:
    return _at_least(1, text)


def _several(text: str) -> int:
    return _at_least(2, text)


def _at_least(fewest: int, text: str) -> int:
    value = int(text)
    if value < fewest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {fewest}")
    return value
