"""``sdpn adapt``: adapt a model to one's own recordings, if that improves it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_model_arguments
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import model_path

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections

DESCRIPTION = """\
Adapt a model to unlabelled recordings of your own: telephone calls, a meeting room, another language.

Detects speech, continues training on most of it (a few minutes), and compares the old and the adapted model
on held-out recordings, without labels. OUT receives the adapted model only if it separates speakers better on
those recordings and no worse on the original domain; otherwise it receives the old model, and the command
reports this. If you have the original training speech, pass it as --rehearse: it is mixed into every batch
against forgetting, and part of it is held out as a check.

Rerunning the command resumes an interrupted adaptation. OUT.work keeps the segments, the training run and the
list of held-out recordings.
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
        help="recordings: a folder of audio files, or a Kaldi data directory (its segments file, if any, "
        "replaces speech detection); labels are never read",
    )
    parser.add_argument(
        "audio", nargs="*", type=Path, metavar="AUDIO", help="files and folders, also in addition to --data"
    )
    parser.add_argument(
        "--rehearse",
        type=Path,
        metavar="DIR",
        help="Kaldi data directory of speech that the model was trained on",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="model folder to write")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder for intermediate files: segments, training run, held-out list (default: OUT.work)",
    )
    add_model_arguments(parser)


def settings() -> Sections:
    """The settings of an adaptation."""
    from sdpn.adaptation.config import AdaptConfig

    return {"": AdaptConfig}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Adapt, compare, write the better model, and report which one it is.

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
            f"a model of format {args.format} has no prototypes to continue training with",
            path=args.model,
            hint="adapt a model folder written by sdpn train",
        )
    config = load_config(AdaptConfig, None, args.settings)
    recordings = find_recordings(args.data, args.audio)

    from sdpn.adaptation.adapt import Sources, adapt, work_folder
    from sdpn.cli.train import training_shown

    work = args.work or work_folder(args.out)
    check_writable(work, "folder")
    with training_shown("adapt", quiet=args.quiet) as shown:
        results = adapt(
            config,
            Sources(model_path(args.model), recordings, args.rehearse),
            work=work,
            out=args.out,
            on_training=shown.steps,
            on_work=shown.work,
        )
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
        print(format_table(["speaker separation", "old", "adapted", "gain", "interval"], rows))
    adapted = results["kept"] == "adapted"
    print("The adapted model is better." if adapted else "The OLD model is kept, unchanged.")
    for reason in results["reasons"]:
        print(f"  {reason}")
    print(f"model: {results['model']}")
