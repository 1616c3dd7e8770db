"""``sdpn degrade``: a copy of a corpus in rooms, noise or over the telephone, to test on."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from sdpn.cli.progress import track
from sdpn.errors import InputError
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
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output data directory; an earlier copy is replaced",
    )
    parser.add_argument("--noise", type=Path, metavar="DIR", help="data directory of noises")
    parser.add_argument("--rir", type=Path, metavar="DIR", help="data directory of room impulse responses")
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
    _check_options(args)
    from sdpn.augmentation.conditions import one_after_another, recorded_conditions, telephone
    from sdpn.augmentation.degrade import degrade
    from sdpn.io.kaldi import read_data_dir

    utterances = read_data_dir(args.data)
    low, high = args.snr
    conditions = recorded_conditions(noise=args.noise, rir=args.rir, snr_db=(low, high))
    if args.telephone:
        conditions.append(telephone)
    done = degrade(
        track(utterances, description="degrading", total=len(utterances), quiet=args.quiet),
        one_after_another(*conditions),
        args.out,
        seed=args.seed,
        trials=args.data / "trials",
    )
    scaled = f", {done.num_scaled} of them scaled down to full scale" if done.num_scaled else ""
    print(f"{done.num_utterances} utterances, {done.duration_s / 3600:.2f} h{scaled}: {args.out}")
    return {**done._asdict(), "data": str(args.out.resolve())}


def _check_options(args: argparse.Namespace) -> None:
    if args.noise is None and args.rir is None and not args.telephone:
        raise InputError("nothing to do", hint="give --noise, --rir or --telephone, or several of them")
    low, high = args.snr
    if not -math.inf < low <= high < math.inf:
        raise InputError(
            f"--snr {low:g} {high:g} is not a range", hint="expected LOW HIGH in dB, such as 5 15"
        )
    if args.out.is_dir() and any(args.out.iterdir()):
        _refuse_other_folders(args.out, args.data)


def _refuse_other_folders(out: Path, data: Path) -> None:
    """Only replace a folder that is an earlier degraded copy."""
    if out.resolve() == data.resolve() or out.resolve() in data.resolve().parents:
        raise InputError("--out would replace --data", path=out, hint="choose a new folder")
    if not ((out / "wav.scp").is_file() and (out / "audio").is_dir()):
        raise InputError(
            "contains something other than a degraded copy, which would be lost",
            path=out,
            hint="choose a new folder",
        )
