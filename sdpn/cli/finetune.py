"""``sdpn finetune``: train a model further with speaker labels."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_model_arguments
from sdpn.cli.training_arguments import add_training_arguments
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections

DESCRIPTION = """\
Fine-tune a model with speaker labels: what was learned without labels, or any model that can be read, is
trained further to classify the speakers of --data (utt2spk, or --labels). docs/finetuning.md has a worked
example.

Which layers learn, and how fast, depends on how many labels there are:

  layers.trained=head        a dozen speakers: the encoder stays as it is
  layers.trained=adapters    some dozens: small branches beside its layers, a few percent of the parameters;
                             EXP/adapters has them alone, and EXP/model the network that they make
  layers.trained=all         a hundred and more; layers.head_steps=50 trains the classifier alone first,
                             layers.decay=0.8 lets lower layers learn slower, layers.toward_start and
                             layers.blend keep the weights near those of the model
  layers.trained=gradual     the same, from the last layer down

--valid DIR, speech of other speakers, chooses the step that is exported, and with supervised.patience ends
the run when it no longer improves. --test DIR states the equal error rate of the model before and after on
the same trials, with an interval of the difference. --unlabelled DIR adds speech without labels to every
step.

It is the loop of 'sdpn train': rerunning the command resumes an interrupted run exactly, and EXP holds
checkpoints, curves for TensorBoard, and the model. A new model needs a new back end: --new-back-end trains
one, and thresholds that were stored for the old model do not hold.
"""

EXAMPLE = """\
  sdpn finetune --model small --data data/train --out exp/mine
  sdpn finetune --model small --data data/train --valid data/valid --test data/test --out exp/mine \\
                --config conf/finetune.yaml supervised.patience=5
  sdpn finetune --model small --data data/few --out exp/adapted --config conf/finetune_adapters.yaml
  sdpn finetune --model campplus.bin --format 3dspeaker --data data/train --out exp/campplus
  sdpn finetune --model exp/mine/model --data data/others --new-head --out exp/others
  sdpn finetune --model small --data data/labelled --unlabelled data/rest --out exp/semi
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn finetune``."""
    add_model_arguments(parser)
    add_training_arguments(parser, data="Kaldi data directory of labelled speech (wav.scp, utt2spk)")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="'utterance class' lines in place of utt2spk (same as supervised.labels=…)",
    )
    parser.add_argument(
        "--unlabelled",
        type=Path,
        action="append",
        metavar="DIR",
        help="data directory of speech to train on without labels, in the same steps; its speakers are not "
        "read; repeatable",
    )
    parser.add_argument(
        "--valid",
        type=Path,
        metavar="DIR",
        help="data directory of other speakers: the step with the lowest EER on its trials (DIR/trials, or "
        "pairs by utt2spk) is exported",
    )
    parser.add_argument(
        "--test",
        type=Path,
        action="append",
        metavar="DIR",
        help="data directory on whose trials the model is compared before and after; repeatable",
    )
    parser.add_argument(
        "--new-head",
        action="store_true",
        help="begin with a new classifier although the model has one, for other classes",
    )
    parser.add_argument(
        "--new-back-end",
        action="store_true",
        help="train a back end for the fine-tuned model on the labelled speech",
    )


def settings() -> Sections:
    """The settings of fine-tuning."""
    from sdpn.training.finetune_config import FinetuneConfig

    return {"": FinetuneConfig}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune, compare, and print both.

    Raises:
        InputError: as `sdpn.training.finetune.finetune`.
    """
    from sdpn.cli.train import training_shown
    from sdpn.config import load_config
    from sdpn.training.finetune import FinetuneSources, finetune
    from sdpn.training.finetune_config import FinetuneConfig

    labels = [] if args.labels is None else [f"supervised.labels={json.dumps(str(args.labels))}"]
    config = load_config(FinetuneConfig, args.config, [*labels, *args.settings])
    sources = FinetuneSources(
        data=args.data,
        model=args.model,
        format=args.format,
        valid=args.valid,
        test=args.test or (),
        unlabelled=args.unlabelled or (),
    )
    first = os.environ.get("RANK", "0") == "0"  # torchrun starts several processes; one of them prints
    with training_shown("finetune", quiet=args.quiet or not first) as shown:
        results = finetune(
            config,
            sources,
            args.out,
            new_head=args.new_head,
            back_end=args.new_back_end,
            on_progress=shown.steps,
            on_work=shown.work,
        )
    if first:
        _print(results)
    return results


def _print(results: dict[str, Any]) -> None:
    from sdpn.cli.table import format_table

    rows = [
        [
            one["list"],
            f"{one['num_target'] + one['num_nontarget']:,}",
            f"{100 * one['before']:.2f}",
            f"{100 * one['after']:.2f}",
            f"{100 * one['difference']:+.2f}",
            f"[{100 * one['low']:+.2f}, {100 * one['high']:+.2f}]",
        ]
        for one in results["comparisons"]
    ]
    if rows:
        print(format_table(["EER %", "trials", "before", "after", "difference", "95 % interval"], rows))
        if any(one["chosen"] for one in results["comparisons"]):
            print("The step was chosen on the trials of --valid, which flatters it there: report --test.")
    if results["back_end"] == "does not fit":
        print(
            "The back end of the model before does not fit the new one, which has none: train one with "
            "--new-back-end, or with 'sdpn backend'."
        )
    print(
        f"model: {results['model']}  ({results['trained_parameters']:,} of "
        f"{results['encoder_parameters']:,} parameters trained, {results['trained_share']:.1%})"
    )
