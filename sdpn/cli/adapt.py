"""``sdpn adapt``: a model that fits one's own recordings, if it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.model_arguments import add_model_arguments, named_model
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Adapt a model to unlabelled recordings of your own: telephone calls, a meeting room, another language.

Finds the speech, trains on most of it from where the model stands (a few minutes), and compares old and
adapted model on recordings that were held out, without labels. OUT becomes the adapted model only if it sets
voices apart better there and no worse on what the model knew; otherwise it is the old one, and the command
says so. Give the speech that the model was trained on as --rehearse if you have it: it is mixed in, so that
nothing is forgotten, and watched.

The same command continues an interrupted adaptation. OUT.work keeps segments, training and what was held out.
"""

EXAMPLE = """\
  sdpn adapt --data recordings/ --out models/calls
  sdpn adapt --model exp/mini/model --data data/calls --rehearse data/train --out models/calls \\
             augmentation.noise=data/noise training.steps=400
"""

OUTPUTS: dict[str, OutputKind] = {"out": "whole folder", "work": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn adapt``."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="recordings: a folder of audio files, or a Kaldi data directory (its segments, if it has such, "
        "are taken for speech); labels are never read",
    )
    parser.add_argument(
        "--audio", type=Path, nargs="+", default=[], metavar="FILE", help="recordings, instead or besides"
    )
    parser.add_argument(
        "--rehearse",
        type=Path,
        metavar="DIR",
        help="Kaldi data directory of speech that the model was trained on",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="model folder to write")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="what comes about on the way (default: OUT.work)"
    )
    add_model_arguments(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="single settings, such as training.steps=400; see docs/adaptation.md",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Adapt, compare, write the better model, and say which it is.

    Raises:
        InputError: the model cannot be trained on, or as `sdpn.adaptation.adapt.adapt`.
    """
    from sdpn.adaptation.config import AdaptConfig
    from sdpn.adaptation.segments import find_recordings
    from sdpn.config import load_config
    from sdpn.errors import InputError
    from sdpn.io.atomic import check_writable

    if args.format not in (None, "sdpn"):
        raise InputError(
            f"a model of {args.format} has no prototypes to go on with",
            path=args.model,
            hint="adapt a folder that sdpn train wrote",
        )
    work = args.work or args.out.with_name(f"{args.out.name}.work")
    check_writable(work, "folder")
    config = load_config(AdaptConfig, None, args.overrides)
    recordings = find_recordings(args.data, args.audio)

    from sdpn.adaptation.adapt import Sources, adapt
    from sdpn.cli.progress import Meter
    from sdpn.cli.train import training_shown

    meter = Meter(quiet=args.quiet)
    try:
        with training_shown("adapt", quiet=args.quiet) as display:
            results = adapt(
                config,
                Sources(named_model(args), recordings, args.rehearse),
                work=work,
                out=args.out,
                on_training=display,
                on_work=meter.show,
            )
    finally:
        meter.finish()
    _print(results)
    return results


def _print(results: dict[str, Any]) -> None:
    from sdpn.cli.table import format_table

    rows = [
        [
            comparison["measure"],
            f"{comparison['old']:.3f}",
            f"{comparison['new']:.3f}",
            f"{comparison['gain']:+.1%}",
            f"[{comparison['low']:+.1%}, {comparison['high']:+.1%}]",
        ]
        for comparison in results["comparisons"]
    ]
    if rows:
        print(format_table(["separation of voices", "old", "adapted", "gain", "interval"], rows))
    adapted = results["kept"] == "adapted"
    print("The adapted model is better." if adapted else "The OLD model is kept, unchanged.")
    for reason in results["reasons"]:
        print(f"  {reason}")
    print(f"model: {results['model']}")
