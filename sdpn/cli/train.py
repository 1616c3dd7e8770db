"""``sdpn train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdpn.training.loop import Progress

DESCRIPTION = """\
Learn speaker embeddings from unlabelled speech with a Self-Distillation Prototypes Network.

Writes OUT/model (for extract and diarize), OUT/checkpoints, OUT/tensorboard and OUT/config.yaml.
The same command continues an interrupted run exactly where its last checkpoint was made; SIGTERM
saves a checkpoint first. Watch it with: tensorboard --logdir OUT/tensorboard
"""

EXAMPLE = """\
  sdpn train --config conf/mini.yaml --data data/train --out exp/mini
  sdpn train --config conf/mini.yaml --data data/a --data data/b --out exp/k512 \\
             sdpn.num_prototypes=512 augmentation.noise=data/noise training.seed=1
"""


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
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="single settings, such as training.steps=500; see EXP/config.yaml for all of them",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and export."""
    from sdpn.config import load_config
    from sdpn.training.config import RunConfig

    config = load_config(RunConfig, args.config, args.overrides)  # before torch does any work

    from sdpn.training.loop import Stopped
    from sdpn.training.pretrain import pretrain

    try:
        with _ProgressDisplay(quiet=args.quiet) as display:
            results = pretrain(config, args.data, args.out, on_progress=display)
    except Stopped as stopped:
        print(f"sdpn train: {stopped}; the same command continues", file=sys.stderr)
        raise SystemExit(128 + stopped.signal_number) from None
    print(f"model: {results['model']}  ({results['encoder_parameters']:,} parameters)")
    return results


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
            f"loss {scalars['loss/total']:.3f}  ce {scalars['loss/ce']:.3f}  "
            f"me-max {scalars['loss/memax']:.3f}  koleo {scalars['loss/koleo']:.2f}  "
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
