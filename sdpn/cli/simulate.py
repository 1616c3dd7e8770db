"""``sdpn simulate``: conversations with references, from single utterances."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.numbers import at_least
from sdpn.cli.progress import track
from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.simulation.simulate import SimulationConfig

DESCRIPTION = """\
Simulate conversations from a corpus with one folder per speaker, DIR/<speaker>/**/<utterance>.flac.

Turns, pauses, overlaps and interjections follow the statistics of real conversations; the reference is the
speech that voice activity detection finds in the clean utterances. Writes to --out:
  <recording>.flac, wav.scp        16 kHz, 16 bits
  reference.rttm, reference.uem    who speaks when, and the regions to score
  manifest.jsonl                   the sources of each conversation; --manifest reproduces the same samples
  statistics.json                  turn statistics, in the format of --statistics
"""

EXAMPLE = """\
  sdpn simulate --corpus corpora/speakers --out conversations --num 24 --seed 1
  sdpn simulate --corpus corpora/speakers --rir corpora/rir --noise corpora/noise \\
      --min-speakers 3 --max-speakers 3 --statistics meetings/ --out meetings-like --num 100
  sdpn simulate --manifest conversations/manifest.jsonl --corpus corpora/speakers --out again
"""

#: Options that a manifest determines.
_DRAWN = (
    *("num", "seed", "duration", "min_speakers", "max_speakers", "statistics"),
    *("level_spread", "room_share", "noise_share", "snr"),
)

logger = logging.getLogger(__name__)

OUTPUTS: dict[str, OutputKind] = {"out": "whole folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn simulate``."""
    parser.add_argument(
        "--corpus",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="corpus with one folder per speaker; repeatable",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output folder; an existing simulation is replaced",
    )
    parser.add_argument(
        "--rir",
        type=Path,
        metavar="DIR",
        help="folder of measured room impulse responses, searched recursively",
    )
    parser.add_argument(
        "--noise", type=Path, metavar="DIR", help="folder of noise recordings, searched recursively"
    )
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="number of processes (default: %(default)s)"
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="reproduce the conversations of this manifest"
    )
    # without defaults here, so that options given with --manifest can be rejected
    drawn = parser.add_argument_group("random choices (not with --manifest)")
    drawn.add_argument("--num", type=int, metavar="N", help="number of conversations")
    drawn.add_argument("--seed", type=int, metavar="S", help="random seed (default: 0)")
    drawn.add_argument(
        "--duration", type=float, metavar="S", help="length of each conversation in seconds (default: 180)"
    )
    drawn.add_argument(
        "--min-speakers", type=int, metavar="A", help="minimum speakers per conversation (default: 2)"
    )
    drawn.add_argument(
        "--max-speakers", type=int, metavar="B", help="maximum speakers per conversation (default: 6)"
    )
    drawn.add_argument(
        "--statistics",
        type=Path,
        metavar="DIR|FILE",
        help="RTTM files to estimate turn statistics from, or a saved statistics.json (default: "
        "VoxConverse's)",
    )
    drawn.add_argument(
        "--level-spread",
        type=float,
        metavar="DB",
        help="standard deviation of the speakers' levels (default: 3)",
    )
    drawn.add_argument(
        "--room-share",
        type=float,
        metavar="P",
        help="share of reverberant conversations, with --rir or simulated rooms (default: 0.5)",
    )
    drawn.add_argument(
        "--noise-share",
        type=float,
        metavar="P",
        help="share of conversations with --noise, reverberant ones first (default: 0.5)",
    )
    drawn.add_argument(
        "--snr",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="range of the signal-to-noise ratio in dB (default: 5 20)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Simulate, or reproduce the conversations of a manifest.

    Raises:
        InputError: an option, a folder, a recording or the manifest is wrong.
    """
    _check_options(args)
    from sdpn.diarization.vad import detect_speech
    from sdpn.simulation.simulate import reproduce, simulate
    from sdpn.simulation.sources import Folders
    from sdpn.simulation.turn_statistics import figures, read_statistics

    folders = Folders(corpora=args.corpus, rir=args.rir, noise=args.noise)
    progress = partial(track, quiet=args.quiet)
    if args.manifest is not None:
        done = reproduce(args.manifest, folders, args.out, jobs=args.jobs, progress=progress)
    else:
        statistics = None if args.statistics is None else read_statistics(args.statistics)
        done = simulate(
            _config(args),
            folders,
            args.out,
            detect_speech,
            statistics=statistics,
            jobs=args.jobs,
            progress=progress,
        )
    results: dict[str, Any] = {
        "conversations": len(done.conversations),
        "hours": done.hours,
        "speakers": done.num_speakers,
        "rounded": done.those("rounded"),
        "changed": done.changed,
        "unknown": done.those("unknown"),
    }
    if done.statistics is not None:
        results["statistics"] = {
            "simulated": figures(done.statistics),
            done.source.source: figures(done.source),
        }
    _print(results, args)
    return results


def _check_options(args: argparse.Namespace) -> None:
    given = [f"--{name.replace('_', '-')}" for name in _DRAWN if getattr(args, name) is not None]
    if args.manifest is not None and given:
        raise InputError(f"{given[0]} contradicts --manifest, which already determines it")
    if args.manifest is None and args.num is None:
        raise InputError(
            "--num, the number of conversations, is missing",
            hint="or give --manifest to reproduce a simulation",
        )


def _config(args: argparse.Namespace) -> SimulationConfig:
    from sdpn.simulation.simulate import SimulationConfig

    options = {
        "duration_s": args.duration,
        "min_speakers": args.min_speakers,
        "max_speakers": args.max_speakers,
        "level_spread_db": args.level_spread,
        "room_share": args.room_share,
        "noise_share": args.noise_share,
        "noise_snr_db": None if args.snr is None else tuple(args.snr),
    }
    return SimulationConfig(
        num=args.num,
        seed=args.seed or 0,
        **{name: value for name, value in options.items() if value is not None},
    )


def _print(results: dict[str, Any], args: argparse.Namespace) -> None:
    if "statistics" in results:
        (here, simulated), (source, real) = results["statistics"].items()
        rows = [
            [name, f"{simulated[name]:.2f}" if name in simulated else "-", f"{real[name]:.2f}"]
            for name in real
        ]
        print(format_table(["", here, source.split(",")[0]], rows))
    size = (
        f"{results['conversations']} conversations, {results['hours']:.2f} h, {results['speakers']} speakers"
    )
    print(f"{size}: {args.out}")
    if args.manifest is None:
        return
    if not results["changed"] and not results["unknown"]:
        rounded = f", {len(results['rounded'])} of them but for rounding" if results["rounded"] else ""
        print(f"The samples match the manifest{rounded}.")
    for key, meaning in (
        ("changed", "differ from the manifest by more than rounding (another decoder?)"),
        (
            "unknown",
            "have another digest; by how much they differ is unknown, since format 1 has no sketch",
        ),
    ):
        if results[key]:
            logger.warning(
                "%d of %d conversations %s: %s",
                *(len(results[key]), results["conversations"], meaning, " ".join(results[key][:3])),
            )
