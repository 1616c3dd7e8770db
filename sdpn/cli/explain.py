"""``sdpn explain``: what a network hears, where, and in which layer."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments
from sdpn.cli.model_arguments import add_model_arguments
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

if TYPE_CHECKING:
    from sdpn.explain.checkpoint_model import ExplainedModel
    from sdpn.explain.hearing import Hearing
    from sdpn.explain.network import ExplainedNetwork
    from sdpn.explain.page import PageSection
    from sdpn.io.kaldi import Utterance

DESCRIPTION = """\
Show what a network hears, where, and in which layer, on one page that opens offline, and check every picture
with numbers that could have come out badly (docs/explain.md).

WHAT is one of
  utterance   maps of one recording: what its embedding, a speaker (--speaker) or a prototype (--prototype)
              rests on; attention; activations of layers (--layer); audio in which relevant parts are louder
  pair        why two utterances are similar: the map of either towards the other
  prototype   what prototypes stand for: their nearest utterances, what members share; with --against, which
              moved between two checkpoints and whom they won or lost
  layers      what can be read off every layer of what is in --data: from energy and phones to the speaker
  trials      the errors of --trials: their rates by duration, SNR, pitch, language and the like, the worst in
              a table (errors.csv) with what they sound like and their nearest neighbours, and maps of the
              first few; or the longest confusions of a diarization (--ref and --hyp)
  compare     methods with each other and with chance; with --against, two models or checkpoints

Recordings are files, or with --data ids of its utterances. --model takes any model, and for prototypes and
comparisons a checkpoint (EXP/checkpoints/step-00000100) as well."""

EXAMPLE = """\
  sdpn explain utterance a.wav --out exp/a
  sdpn explain pair a.wav b.wav --thorough --out exp/pair
  sdpn explain prototype --data data/train --model exp/mini/model --out exp/prototypes
  sdpn explain layers --data data/dev --out exp/layers
  sdpn explain trials --data data/dev --trials data/dev/trials --out exp/errors
  sdpn explain trials --data data/dev --trials data/dev/trials --embeddings exp/dev.scp --worst 0 \\
    --listed 50 --table data/dev/utt2lang --json errors.json --out exp/errors
  sdpn explain trials meeting.wav --ref meeting.ref.rttm --hyp out/meeting.rttm --out exp/confusions
  sdpn explain compare --data data/dev --out exp/methods
  sdpn explain compare --data data/dev --model exp/mini/model --against exp/second/model --out exp/compared"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder", "tensorboard": "folder"}

#: Errors of each kind that get maps, and that are listed.
_WORST, _LISTED = 3, 20

#: Options that each explanation takes, beside those of all.
_TAKES = {
    "utterance": {
        "items",
        "data",
        "maps",
        "layer",
        "attention",
        "thorough",
        "speaker",
        "prototype",
        "channel",
    },
    "pair": {"items", "data", "maps", "thorough", "channel"},
    "prototype": {"data", "table", "prototype", "against"},
    "layers": {"data", "table", "layer"},
    "trials": {
        "items",
        "data",
        "table",
        "maps",
        "trials",
        "embeddings",
        "threshold",
        "ref",
        "hyp",
        "worst",
        "listed",
    },
    "compare": {"data", "maps", "layer", "pairs", "against", "student"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn explain``."""
    parser.add_argument("what", choices=_TAKES, metavar="WHAT", help=", ".join(_TAKES))
    parser.add_argument(
        "items", nargs="*", metavar="AUDIO", help="recordings, or with --data ids of utterances"
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="DIR",
        help="a Kaldi data directory, or a folder of recordings; 'layers' takes several",
    )
    add_model_arguments(parser)
    add_audio_arguments(parser, separate=False, skip_bad=False)
    what = parser.add_argument_group("what is explained")
    what.add_argument("--speaker", metavar="NAME", help="a speaker in --data, against the others there")
    what.add_argument("--prototype", type=at_least(0), metavar="K", help="a prototype, by number from 0")
    what.add_argument("--against", type=model_path, metavar="M", help="another model, or a later checkpoint")
    what.add_argument(
        "--student", action="store_true", help="of the checkpoint --against, the student, not the teacher"
    )
    what.add_argument("--trials", type=Path, metavar="FILE", help="trial list")
    what.add_argument(
        "--embeddings",
        type=Path,
        metavar="SCP|ARK",
        help="embeddings of --data by this model, from 'sdpn extract' (default: they are computed)",
    )
    what.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="trials with a cosine of T or more are accepted (default: that of the equal error rate)",
    )
    what.add_argument("--ref", type=Path, nargs="+", metavar="RTTM", help="reference of the recordings")
    what.add_argument("--hyp", type=Path, nargs="+", metavar="RTTM", help="diarization of the recordings")
    what.add_argument(
        "--table",
        type=Path,
        action="append",
        metavar="TABLE",
        help="labels to look for, 'utterance label' or 'speaker label', beside utt2spk, spk2gender, spk2age "
        "and utt2lang in --data",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--maps",
        type=lambda text: text.split(","),
        metavar="NAMES",
        help="methods, with commas: cam, occlusion, integrated-gradients, grad-cam, gradient, eigen-cam, "
        "relevance (default: cam,occlusion)",
    )
    how.add_argument(
        "--layer", action="append", metavar="L", help="a layer by name or number; an unknown one lists them"
    )
    how.add_argument("--attention", action="store_true", help="fail if the network has no attention")
    how.add_argument(
        "--thorough", action="store_true", help="also compare with random weights and with adversarial noise"
    )
    how.add_argument(
        "--worst", type=at_least(0), metavar="N", help="errors of each kind that get maps (default: 3)"
    )
    how.add_argument(
        "--listed", type=at_least(1), metavar="N", help="errors of each kind in the table (default: 20)"
    )
    how.add_argument(
        "--pairs", type=at_least(2), metavar="N", help="pairs that methods are measured on (default: 100)"
    )
    how.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="random seed (default: 0)")
    out = parser.add_argument_group("output")
    out.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of index.html, and maps.npz where there are maps",
    )
    out.add_argument("--tensorboard", type=Path, metavar="DIR", help="also write the pictures there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Explain, write the page, print and return the numbers.

    Raises:
        InputError: options that make no sense together, or as the functions of `sdpn.explain`.
    """
    _refuse_other_options(args)
    explain = {
        "utterance": _utterance,
        "pair": _pair,
        "prototype": _prototype,
        "layers": _layers,
        "trials": _trials,
        "compare": _compare,
    }[args.what]
    meter = Meter(quiet=args.quiet)
    try:
        return explain(args, meter)
    finally:
        meter.finish()


def _refuse_other_options(args: argparse.Namespace) -> None:
    every = set().union(*_TAKES.values())
    for name in sorted(every - _TAKES[args.what]):
        if getattr(args, name) not in (None, False, []):
            option = "AUDIO" if name == "items" else f"--{name}"
            takers = ", ".join(what for what, takes in _TAKES.items() if name in takes)
            raise InputError(f"{option} is not for 'explain {args.what}'", hint=f"it is for {takers}")


def _utterance(args: argparse.Namespace, _meter: Meter) -> dict[str, Any]:
    from sdpn.explain.speakers import speaker_target
    from sdpn.explain.target import prototype_assignment
    from sdpn.explain.utterance import explain_utterance, utterance_section

    model, network = _model(args)
    (hearing,) = _hearings(args, network, 1)
    if args.speaker is not None and args.prototype is not None:
        raise InputError("--speaker and --prototype are two different questions", hint="ask one")
    target = None
    if args.speaker is not None:
        target = speaker_target(network, _all_utterances(args), args.speaker, but=hearing.name)
    elif args.prototype is not None:
        target = prototype_assignment(model.require_prototypes(), args.prototype)
    found = explain_utterance(
        network,
        hearing,
        target,
        methods=args.maps,
        layers=args.layer,
        attention=args.attention,
        thorough=args.thorough,
        seed=args.seed,
    )
    _write(
        args,
        f"{hearing.name}: {model.name}",
        [utterance_section(found)],
        {one.method: one for one in found.maps},
    )
    for name, figures in found.figures.items():
        print(
            f"{name}: score {found.score:.3f}, hidden first {figures.deletion:.3f}, "
            f"random {figures.random:.3f}, hidden last {figures.insertion:.3f}, "
            f"{100 * figures.on_speech:.0f} % on speech"
        )
        for fault in figures.faults:
            print(f"{name} is not to be trusted here: {fault}")
    return found.to_dict()


def _pair(args: argparse.Namespace, _meter: Meter) -> dict[str, Any]:
    from sdpn.explain.pair import explain_pair, pair_sections

    model, network = _model(args)
    first, second = _hearings(args, network, 2)
    found = explain_pair(network, first, second, methods=args.maps, thorough=args.thorough, seed=args.seed)
    maps = {f"{side}.{one.method}": one for side in ("first", "second") for one in getattr(found, side).maps}
    _write(args, f"{first.name} and {second.name}: {model.name}", pair_sections(found), maps)
    print(f"cosine {found.score:.3f}")
    return found.to_dict()


def _prototype(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    from sdpn.explain.checkpoint_model import read_explained
    from sdpn.explain.prototypes import explain_prototypes, prototype_sections

    folder = _one_folder(args)
    model = read_explained(args.model, args.format)
    model.require_prototypes()
    against = None if args.against is None else read_explained(args.against)
    found = explain_prototypes(
        model,
        _all_utterances(args),
        index=args.prototype,
        data=folder if folder.is_dir() else None,
        tables=args.table or (),
        against=against,
        seed=args.seed,
        on_progress=partial(meter.show, "assigning"),
    )
    _write(args, f"Prototypes of {model.name}", prototype_sections(model, found))
    print(f"{found.num_used} of {found.num_prototypes} prototypes have members")
    for name, value in found.purity.items():
        print(f"purity by {name}: {value:.3f}, of shuffled labels {found.chance[name]:.3f}")
    if found.moves:
        moved = found.moves[0]
        print(
            f"moved most: {moved.index} (1 - cosine {moved.drift:.4f}), "
            f"won {len(moved.won)}, lost {len(moved.lost)}"
        )
    return found.to_dict()


def _layers(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    from sdpn.cli.table import format_table
    from sdpn.explain.layers_report import explain_layers
    from sdpn.explain.method_sections import layers_section

    model, _ = _model(args)
    if not args.data:
        raise InputError("needs --data DIR, to read something off the layers")
    found = explain_layers(
        model.embedder,
        args.data,
        layers=args.layer,
        tables=args.table or (),
        seed=args.seed,
        on_progress=partial(meter.show, "probing"),
    )
    section = layers_section(found)
    _write(args, f"Layers of {model.name}", [section])
    meter.finish()
    print(format_table(section.tables[0].header, section.tables[0].rows))
    return found.to_dict()


def _trials(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    if args.ref is not None or args.hyp is not None:
        return _confusions(args)
    from sdpn.cli.table import format_table
    from sdpn.explain.errors_of_trials import (
        error_sections,
        errors_as_csv,
        explain_trials,
        group_table,
        overview_section,
    )
    from sdpn.explain.labels import read_labels_of
    from sdpn.explain.page import ExplainPage, PageSection
    from sdpn.io.atomic import atomic_write_text
    from sdpn.io.kaldi import read_vectors
    from sdpn.io.trials import read_trials

    if args.trials is None:
        raise InputError("needs --trials FILE with --data DIR, or --ref and --hyp with a recording")
    if args.items:
        raise InputError("AUDIO is for --ref and --hyp; the utterances of --trials are in --data")
    if args.threshold is not None and not math.isfinite(args.threshold):
        raise InputError(f"--threshold {args.threshold} is no cosine")
    trials = read_trials(args.trials)
    folder, utterances = _one_folder(args), _all_utterances(args)
    labels = read_labels_of(utterances, folder, args.table or ())
    vectors = None if args.embeddings is None else read_vectors(args.embeddings)
    model, network = _model(args)
    found = explain_trials(
        network,
        trials,
        utterances,
        worst=_WORST if args.worst is None else args.worst,
        listed=args.listed or _LISTED,
        threshold=args.threshold,
        vectors=vectors,
        labels=labels,
        methods=args.maps,
        seed=args.seed,
        on_progress=meter.show,
    )
    meter.finish()
    pages, links = {}, []
    for number, one in enumerate(found.explained, start=1):
        name = f"error-{number}.html"
        title = f"{number}. {one.kind}: {one.utterances[0]} and {one.utterances[1]}"
        pages[name] = ExplainPage(
            title, error_sections(one, found.threshold), [("all errors", "index.html")], model.name
        )
        links.append((title, name))
    summary = (
        f"EER {100 * found.eer:.2f} %; at cosine {found.threshold:.3f} {found.num_errors[0]:,} of "
        f"{found.num_trials[0]:,} non-targets accepted and {found.num_errors[1]:,} of "
        f"{found.num_trials[1]:,} targets rejected."
    )
    sections = [PageSection("Trials", [summary]), overview_section(found)]
    _write_page(args, ExplainPage(f"Errors of {model.name}", sections, links, args.trials.name), pages)
    atomic_write_text(args.out / "errors.csv", errors_as_csv(found.errors))
    print(summary)
    print(f"\n{format_table(*group_table(found.groups))}\n")
    print("\n".join(found.notes))
    print(f"the worst {len(found.errors)} errors: {args.out / 'errors.csv'}")
    return found.to_dict()


def _confusions(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.explain.confusions import confusion_sections, explain_confusions
    from sdpn.io.rttm import read_rttms

    if args.ref is None or args.hyp is None or args.trials is not None or args.data:
        raise InputError("confusions need --ref, --hyp and recordings, and neither --trials nor --data")
    if not args.items:
        raise InputError(
            "no recordings are given", hint="sdpn explain trials AUDIO --ref RTTM --hyp RTTM --out DIR"
        )
    model, network = _model(args)
    reference, hypothesis = read_rttms(args.ref), read_rttms(args.hyp)
    found = []
    for path in map(Path, args.items):
        found += explain_confusions(
            network,
            path,
            reference.get(path.stem, []),
            hypothesis.get(path.stem, []),
            worst=_WORST if args.worst is None else args.worst,
            methods=args.maps,
            seed=args.seed,
        )
    found.sort(key=lambda one: one.start_s - one.end_s)
    _write(args, f"Confusions of {model.name}", confusion_sections(found))
    print(f"{len(found)} confusions of half a second or more")
    for one in found:
        print(
            f"{one.start_s:.2f} to {one.end_s:.2f} s: {one.speaker} taken for {one.taken_for}, cosine "
            f"{one.similarity:.3f} and {one.similarity_to_other:.3f}"
        )
    return {"confusions": [one.to_dict() for one in found]}


def _compare(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    if args.against is None:
        return _compare_methods(args, meter)
    from sdpn.explain.checkpoint_model import read_explained
    from sdpn.explain.compare_models import compare_models, comparison_sections

    if args.pairs is not None:
        raise InputError("--pairs is for methods, without --against")
    model, _ = _model(args)
    against = read_explained(args.against, student=args.student)
    folder = _one_folder(args)
    found = compare_models(
        model,
        against,
        _all_utterances(args),
        data=folder if folder.is_dir() else None,
        layers=args.layer,
        **({"method": args.maps[0]} if args.maps else {}),
        on_progress=partial(meter.show, "comparing"),
    )
    title = f"{model.name} and {against.name}"
    _write(args, title, comparison_sections(found, (model, against)))
    print(f"rank correlation of cosines {found.cosine_agreement:.3f}, of maps {found.map_agreement.mean:.3f}")
    return found.to_dict()


def _compare_methods(args: argparse.Namespace, meter: Meter) -> dict[str, Any]:
    from dataclasses import asdict

    from sdpn.cli.table import format_table
    from sdpn.explain.faithfulness import measure_faithfulness
    from sdpn.explain.method_sections import METHOD_HEADER, method_rows, methods_section

    if args.layer or args.student:
        raise InputError("--layer and --student are for models, with --against")
    model, _ = _model(args)
    found = measure_faithfulness(
        model.embedder,
        _all_utterances(args),
        methods=args.maps,
        num_pairs=args.pairs or 100,
        seed=args.seed,
        on_progress=partial(meter.show, "measuring"),
    )
    _write(args, f"Methods on {model.name}", [methods_section(found)])
    meter.finish()
    print(format_table(METHOD_HEADER, method_rows(found)))
    return {"methods": {name: {**asdict(one), "faults": one.faults} for name, one in found.items()}}


def _model(args: argparse.Namespace) -> tuple[ExplainedModel, ExplainedNetwork]:
    from sdpn.explain.checkpoint_model import read_explained
    from sdpn.explain.network import ExplainedNetwork

    model = read_explained(args.model, args.format)
    return model, ExplainedNetwork(model.embedder)


def _one_folder(args: argparse.Namespace) -> Path:
    if not args.data or len(args.data) > 1:
        raise InputError("needs one --data DIR")
    folder: Path = args.data[0]
    return folder


def _all_utterances(args: argparse.Namespace) -> list[Utterance]:
    from sdpn.io.inputs import find_utterances

    return find_utterances(_one_folder(args), [])


def _hearings(args: argparse.Namespace, network: ExplainedNetwork, count: int) -> list[Hearing]:
    """The recordings that are given, or the utterances of ``--data`` with these ids."""
    from sdpn.explain.hearing import hear

    if len(args.items) != count:
        what = "one recording" if count == 1 else "two recordings"
        raise InputError(f"'explain {args.what}' takes {what}, found {len(args.items)}")
    if not args.data or (args.speaker is not None and all(Path(item).is_file() for item in args.items)):
        return [hear(network, Path(item), channel=args.channel) for item in args.items]
    by_id = {utterance.id: utterance for utterance in _all_utterances(args)}
    for item in args.items:
        if item not in by_id:
            raise InputError(f"has no utterance {item!r}", path=args.data[0])
    return [hear(network, by_id[item], channel=args.channel) for item in args.items]


def _write(
    args: argparse.Namespace, title: str, sections: Sequence[PageSection], maps: dict[str, Any] | None = None
) -> None:
    from sdpn.explain.page import ExplainPage

    _write_page(args, ExplainPage(title, sections), {}, maps)


def _write_page(
    args: argparse.Namespace, page: Any, further: dict[str, Any], maps: dict[str, Any] | None = None
) -> None:
    from sdpn.explain.explanations import write_explanation

    path = write_explanation(args.out, page, further=further, maps=maps, tensorboard=args.tensorboard)
    print(f"page: {path}")
