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
    from collections.abc import Sequence

    from sdpn.simulation.manifest import Conversation
    from sdpn.simulation.sources import Folders
    from sdpn.simulation.turn_statistics import TurnStatistics

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
    # without defaults here, to tell what was given beside --manifest
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
    from sdpn.io.atomic import atomic_directory
    from sdpn.simulation.manifest import read_manifest, write_manifest
    from sdpn.simulation.simulate import render
    from sdpn.simulation.sources import Folders, check_sources
    from sdpn.simulation.turn_statistics import estimate, read_statistics, voxconverse, write_statistics

    statistics = voxconverse() if args.statistics is None else read_statistics(args.statistics)
    folders = Folders(corpora=args.corpus, rir=args.rir, noise=args.noise)
    progress = partial(track, quiet=args.quiet)
    if args.manifest is None:
        planned = _plan(args, statistics, folders)
    else:
        planned = read_manifest(args.manifest)
        check_sources(planned, folders, args.manifest)
    with atomic_directory(args.out) as out:
        done = render(planned, folders, out, jobs=args.jobs, progress=progress)
        write_manifest(out / "manifest.jsonl", done)
        turns = {conversation.recording: conversation.turns() for conversation in done}
        here = None
        if any(len({turn.speaker for turn in each}) > 1 for each in turns.values()):
            here = estimate(turns, f"{len(done)} simulated conversations")
            write_statistics(out / "statistics.json", here)
    results = _results(done, planned, here, statistics)
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
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / "manifest.jsonl").is_file():
        raise InputError(
            "contains files other than a simulation, which would be lost",
            path=args.out,
            hint="choose a new folder",
        )


def _plan(args: argparse.Namespace, statistics: TurnStatistics, folders: Folders) -> list[Conversation]:
    from sdpn.diarization.vad import detect_speech
    from sdpn.simulation.simulate import SimulationConfig, plan

    options = {
        "duration_s": args.duration,
        "min_speakers": args.min_speakers,
        "max_speakers": args.max_speakers,
        "level_spread_db": args.level_spread,
        "room_share": args.room_share,
        "noise_share": args.noise_share,
        "noise_snr_db": None if args.snr is None else tuple(args.snr),
    }
    config = SimulationConfig(
        num=args.num,
        seed=args.seed or 0,
        **{name: value for name, value in options.items() if value is not None},
    )
    return plan(
        config, statistics, folders, detect_speech, jobs=args.jobs, progress=partial(track, quiet=args.quiet)
    )


def _results(
    done: Sequence[Conversation],
    planned: Sequence[Conversation],
    here: TurnStatistics | None,
    statistics: TurnStatistics,
) -> dict[str, Any]:
    changed = [
        now.recording
        for before, now in zip(planned, done, strict=True)
        if before.sha256 is not None and before.sha256 != now.sha256
    ]
    results: dict[str, Any] = {
        "conversations": len(done),
        "hours": sum(conversation.duration_s for conversation in done) / 3600,
        "speakers": len({speaker.id for conversation in done for speaker in conversation.speakers}),
        "changed": changed,
    }
    if here is not None:
        results["statistics"] = {"simulated": _figures(here), statistics.source: _figures(statistics)}
    return results


def _figures(statistics: TurnStatistics) -> dict[str, float]:
    from sdpn.simulation.turn_statistics import quantile

    figures = {
        "overlapping speech, %": 100 * statistics.overlap_share,
        "silence, %": 100 * statistics.silence_share,
        "speaker changes per min": statistics.changes_per_min,
        "interjections per min": statistics.interjections_per_min,
    }
    for name, distribution in (
        ("turn", statistics.turn_s),
        ("pause within a speaker", statistics.pause_s),
        ("gap between speakers", statistics.gap_s),
        ("overlap at a change", statistics.overlap_s),
        ("interjection", statistics.interjection_s),
    ):
        if distribution:
            figures[f"{name}, median, s"] = quantile(distribution, 0.5)
            figures[f"{name}, 90th percentile, s"] = quantile(distribution, 0.9)
    return figures


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
    if args.manifest is not None and not results["changed"]:
        print("The samples match the manifest.")
    if results["changed"]:
        logger.warning(
            "%d of %d conversations differ from the manifest in their samples (another decoder?): %s",
            *(len(results["changed"]), results["conversations"], " ".join(results["changed"][:3])),
        )
