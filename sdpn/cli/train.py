"""``sdpn train``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import FORMATS
from sdpn.cli.progress import Meter
from sdpn.cli.training_arguments import add_training_arguments
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections
    from sdpn.training.loop import TrainingProgress

DESCRIPTION = """\
Train a Self-Distillation Prototypes Network (SDPN) for speaker embeddings on unlabelled speech; with
--objective supervised, on labelled speech (docs/speaker_id.md); or, with --objective segmentation, a network
that hears who of a few local speakers speaks (docs/segmentation.md).

Writes EXP/model (for extract and diarize), EXP/checkpoints, EXP/tensorboard and EXP/config.yaml. Rerunning
the command resumes an interrupted run exactly from its last checkpoint; SIGTERM and SIGUSR1 save a checkpoint
first. A failing run (NaN loss, collapse, prototypes that do not move) is stopped with an explanation and exit
code 2.

Monitor:    tensorboard --logdir EXP/tensorboard   (docs/training.md explains the curves)
Afterwards: sdpn drift EXP                         checks that the prototypes are being trained
"""

EXAMPLE = """\
  sdpn train --config conf/mini.yaml --data data/train --out exp/mini
  sdpn train --config conf/mini.yaml --data data/a --data data/b --out exp/k512 \\
             sdpn.num_prototypes=512 augmentation.noise=data/noise training.seed=1
  sdpn train --config conf/mini.yaml --data data/mine --out exp/mine \\
             --init exp/mini/model --init-prototypes keep
  sdpn train --config conf/mini.yaml --data data/train --out exp/watched \\
             evaluation.data=data/dev evaluation.trials=data/dev/trials evaluation.every=200
  sdpn train --config conf/fast.yaml --data data/mine --out exp/fast \\
             --objective distill --teacher campplus.bin --teacher-format 3dspeaker
  sdpn train --objective supervised --data data/train --out exp/classes supervised.folds=5
  sdpn train --config conf/segmentation.yaml --data data/train --out exp/segmentation \\
             augmentation.noise=data/noise augmentation.rir=data/rir
  torchrun --nproc-per-node 8 --no-python \\
    sdpn train --config conf/reference.yaml --data data/voxceleb2 --out exp/reference
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sdpn train``."""
    add_training_arguments(
        parser,
        data="Kaldi data directory (wav.scp, optionally segments; speaker labels are read by --objective "
        "supervised and segmentation alone)",
    )
    parser.add_argument(
        "--objective",
        choices=("sdpn", "dino", "pseudo", "distill", "supervised", "segmentation"),
        help="training objective: sdpn (default), dino as a baseline, pseudo for classifying the "
        "pseudo-labels of --labels, distill for distilling --teacher, supervised for classifying the "
        "speakers of utt2spk or --labels, or segmentation for a local segmentation network, on "
        "conversations simulated from the speakers of utt2spk (same as objective=…)",
    )
    parser.add_argument(
        "--init",
        type=Path,
        metavar="MODEL",
        help="initialise encoder and head from this model folder (same as initial.model=…); encoder and "
        "feature settings default to those of the model",
    )
    parser.add_argument(
        "--init-prototypes",
        choices=("uniform", "kmeans", "keep", "classes"),
        help="initial prototypes: uniform random (default), k-means centres of the initial network's "
        "projections, those of --init, or class means of --labels (same as initial.prototypes=…)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="labels for --objective supervised in place of utt2spk, or pseudo-labels for --objective "
        "pseudo, as 'utterance class' lines (same as supervised.labels=… or pseudo.labels=…)",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="MODEL",
        help="teacher model of any supported format for --objective distill (same as distill.teacher=…); "
        "its embeddings of the training speech are computed once and kept in EXP/teacher, or in "
        "distill.cache=DIR",
    )
    parser.add_argument(
        "--teacher-format",
        choices=FORMATS,
        metavar="F",
        help="format of the teacher, if its files do not determine it (same as distill.teacher_format=…)",
    )


def settings() -> Sections:
    """The settings of a run."""
    from sdpn.training.config import RunConfig

    return {"": RunConfig}


def resolve_settings(path: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """The settings of a run as training takes them: with those of the initial model, if one is given."""
    from sdpn.training.config import load_run_config

    return {"": load_run_config(path, settings)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and export."""
    from sdpn.training.config import load_run_config

    config = load_run_config(args.config, [*options_as_settings(args), *args.settings])

    from sdpn.training.pretrain import pretrain

    first = os.environ.get("RANK", "0") == "0"  # torchrun starts several processes; one of them prints
    with training_shown("train", quiet=args.quiet or not first) as shown:
        results = pretrain(config, args.data, args.out, on_progress=shown.steps, on_work=shown.work)
    if first:
        print(f"model: {results['model']}  ({results['encoder_parameters']:,} parameters)")
    return results


def options_as_settings(args: argparse.Namespace) -> list[str]:
    """The settings given by their own options, as overrides."""
    from sdpn.config import load_config
    from sdpn.training.config import RunConfig

    objective = args.objective
    if args.labels is not None and objective is None:
        objective = load_config(RunConfig, args.config, args.settings).objective
    given = {
        "objective": args.objective,
        f"{'supervised' if objective == 'supervised' else 'pseudo'}.labels": args.labels,
        "distill.teacher": args.teacher,
        "distill.teacher_format": args.teacher_format,
        "initial.model": args.init,
        "initial.prototypes": args.init_prototypes,
    }
    return [f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]


def _terms(scalars: dict[str, float]) -> str:
    """The terms of the objective in one line."""
    return "  ".join(
        f"{tag.removeprefix('loss/')} {value:.3f}"
        for tag, value in scalars.items()
        if tag.startswith("loss/") and tag != "loss/total"
    )


@contextmanager
def training_shown(command: str, *, quiet: bool) -> Iterator[TrainingDisplay]:
    """Show training progress inside a command; a run stopped by a signal exits as the shell expects.

    Raises:
        SystemExit: the training was asked to stop and has saved its state.
    """
    from sdpn.training.loop import Stopped

    try:
        with TrainingDisplay(quiet=quiet) as shown:
            yield shown
    except Stopped as stopped:
        print(f"sdpn {command}: {stopped}; rerun the command to resume", file=sys.stderr)
        raise SystemExit(128 + stopped.signal_number) from None


class TrainingDisplay:
    """A bar on a terminal, otherwise a line at every logged step; likewise for the work around the steps."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._meter = Meter(quiet=quiet)

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._meter.finish()
        self._close()

    def work(self, stage: str, done: int, total: int) -> None:
        """Show other work than steps."""
        self._close()
        self._meter.show(stage, done, total)

    def steps(self, progress: TrainingProgress) -> None:
        """Show a logged step."""
        self._meter.finish()
        if self._quiet:
            return
        scalars = progress.scalars
        left_s = (progress.steps - progress.step) * scalars["train/step_s"]
        facts = (
            f"loss {scalars['loss/total']:.3f}  {_terms(scalars)}  "
            f"{scalars['train/step_s']:.2f} s/step (data {scalars['train/loader_wait']:.0%})"
        )
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=progress.steps, desc="training", unit="step", file=sys.stderr)
            self._bar.update(progress.step - self._bar.n)
            self._bar.set_postfix_str(facts)
        else:
            line = f"step {progress.step}/{progress.steps}  {facts}  {left_s / 60:.1f} min left"
            print(line, file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
