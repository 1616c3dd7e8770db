"""``sdpn train``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.training.loop import Progress

DESCRIPTION = """\
Learn speaker embeddings from unlabelled speech with a Self-Distillation Prototypes Network.

Writes OUT/model (for extract and diarize), OUT/checkpoints, OUT/tensorboard and OUT/config.yaml.
The same command continues an interrupted run exactly where its last checkpoint was made; SIGTERM
and SIGUSR1 save a checkpoint first. A run that has gone wrong (a loss that is no number, collapse,
prototypes that stand still) is stopped with a sentence that says why, and exit code 2.

Watch it with: tensorboard --logdir OUT/tensorboard   (docs/training.md explains the curves)
Afterwards:    sdpn drift OUT                         are the prototypes being trained?
"""

EXAMPLE = """\
  sdpn train --config conf/mini.yaml --data data/train --out exp/mini
  sdpn train --config conf/mini.yaml --data data/a --data data/b --out exp/k512 \\
             sdpn.num_prototypes=512 augmentation.noise=data/noise training.seed=1
  sdpn train --config conf/mini.yaml --data data/mine --out exp/mine \
             --init exp/mini/model --init-prototypes keep
  sdpn train --config conf/mini.yaml --data data/train --out exp/watched \
             evaluation.data=data/dev evaluation.trials=data/dev/trials evaluation.every=200
  torchrun --nproc-per-node 8 --no-python \
  sdpn train --config conf/reference.yaml --data data/voxceleb2 --out exp/reference
"""

#: Settings may stand before, between and after the options.
OPTIONS_ANYWHERE = True

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sdpn train``."""
    parser.add_argument("--config", type=Path, metavar="YAML", help="settings that differ from the defaults")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="Kaldi data directory (wav.scp, optionally segments); repeatable; labels are never read",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="EXP", help="experiment folder")
    parser.add_argument(
        "--objective",
        choices=("sdpn", "dino", "pseudo"),
        help="same as objective=…; dino is a baseline, pseudo learns --labels (default: sdpn)",
    )
    parser.add_argument(
        "--init",
        type=Path,
        metavar="MODEL",
        help="start from this model folder's encoder and head (same as initial.model=…); settings of encoder "
        "and features that are not given are the model's",
    )
    parser.add_argument(
        "--init-prototypes",
        choices=("uniform", "kmeans", "keep", "classes"),
        help="where prototypes start: drawn uniformly (default), k-means centres of the initial network's "
        "projections, those of --init, or the means of --labels (same as initial.prototypes=…)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="clusters to learn with --objective pseudo, 'utterance cluster' lines (same as pseudo.labels=…)",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="single settings, such as training.steps=500; see EXP/config.yaml for all of them",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and export."""
    from sdpn.training.config import load_run_config

    config = load_run_config(args.config, [*_options(args), *args.overrides])

    from sdpn.training.pretrain import pretrain

    first = os.environ.get("RANK", "0") == "0"  # torchrun starts several processes; one of them speaks
    with training_shown("train", quiet=args.quiet or not first) as display:
        results = pretrain(config, args.data, args.out, on_progress=display)
    if first:
        print(f"model: {results['model']}  ({results['encoder_parameters']:,} parameters)")
    return results


def _options(args: argparse.Namespace) -> list[str]:
    """The settings that have an option of their own, as overrides."""
    given = {
        "objective": args.objective,
        "pseudo.labels": args.labels,
        "initial.model": args.init,
        "initial.prototypes": args.init_prototypes,
    }
    return [f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]


def _terms(scalars: dict[str, float]) -> str:
    """The parts of the objective, short."""
    return "  ".join(
        f"{tag.removeprefix('loss/')} {value:.3f}"
        for tag, value in scalars.items()
        if tag.startswith("loss/") and tag != "loss/total"
    )


@contextmanager
def training_shown(command: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show a training inside a command; one that a signal stopped ends it as the shell expects.

    Raises:
        SystemExit: the training was asked to stop and has saved its state.
    """
    from sdpn.training.loop import Stopped

    try:
        with _ProgressDisplay(quiet=quiet) as display:
            yield display
    except Stopped as stopped:
        print(f"sdpn {command}: {stopped}; the same command continues", file=sys.stderr)
        raise SystemExit(128 + stopped.signal_number) from None


class _ProgressDisplay:
    """A bar on a terminal, a plain line at every point of the curves elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> _ProgressDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
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
