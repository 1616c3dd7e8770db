"""``sdpn degrade``: a copy of a corpus in rooms, noise or over the telephone, to test on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.progress import track
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Copy a Kaldi data directory with its utterances degraded, to test a model on speech in rooms, in noise and
over the telephone. Each utterance gets one of the measured rooms of --rir, then one of the noises of --noise
at a signal-to-noise ratio drawn from --snr, then the telephone's band; all from a fixed seed.

Utterance ids, speakers and the file 'trials' are unchanged, so that results are comparable with those on the
original data.
"""

EXAMPLE = """\
  sdpn degrade --data data/dev --noise data/noise --rir data/rir --out data/dev_noisy
  sdpn degrade --data data/dev --noise data/noise --snr 5 5 --out data/dev_5dB
  sdpn degrade --data data/dev --telephone --out data/dev_telephone
"""

OUTPUTS: dict[str, OutputKind] = {"out": "whole folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn degrade``."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="Kaldi data directory, or folder of recordings",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output data directory; an earlier copy is replaced",
    )
    parser.add_argument("--noise", type=Path, metavar="DIR", help="data directory or folder of noises")
    parser.add_argument(
        "--rir", type=Path, metavar="DIR", help="data directory or folder of room impulse responses"
    )
    parser.add_argument(
        "--snr",
        type=float,
        nargs=2,
        default=(5.0, 15.0),
        metavar=("LOW", "HIGH"),
        help="range of the signal-to-noise ratio in dB (default: 5 15)",
    )
    parser.add_argument("--telephone", action="store_true", help="300 to 3400 Hz, 8 bits of µ-law")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read, degrade, write.

    Raises:
        InputError: an option or a recording is wrong, or the folder cannot be written.
    """
    from sdpn.augmentation.degrade import degrade_corpus

    done = degrade_corpus(
        args.data,
        args.out,
        noise=args.noise,
        rir=args.rir,
        snr_db=(args.snr[0], args.snr[1]),
        over_telephone=args.telephone,
        seed=args.seed,
        progress=lambda utterances: track(
            utterances, description="degrading", total=len(utterances), quiet=args.quiet
        ),
    )
    scaled = f", {done.num_scaled} of them scaled down to full scale" if done.num_scaled else ""
    print(f"{done.num_utterances} utterances, {done.duration_s / 3600:.2f} h{scaled}: {args.out}")
    return {**done._asdict(), "data": str(args.out.resolve())}
