"""``sdpn simulate``: conversations with a known answer, from single utterances."""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.progress import track
from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdpn.data.manifest import Conversation
    from sdpn.data.sources import Folders
    from sdpn.data.turn_statistics import TurnStatistics

DESCRIPTION = """\
Simulate conversations from a corpus with one folder for each speaker, DIR/<speaker>/**/<utterance>.flac.

Turns, pauses, overlaps and interjections follow statistics of real conversations; the reference is the speech
that voice activity detection finds in the clean utterances. Writes to --out:
  <recording>.flac, wav.scp        16 kHz, 16 bits
  reference.rttm, reference.uem    who speaks when, and what to score
  manifest.jsonl                   what each conversation is made of: --manifest makes the same samples of it
  statistics.json                  statistics of the turns, in the form of --statistics
"""

EXAMPLE = """\
  sdpn simulate --corpus corpora/speakers --out conversations --num 24 --seed 1
  sdpn simulate --corpus corpora/speakers --rir corpora/rir --noise corpora/noise \\
      --min-speakers 3 --max-speakers 3 --statistics meetings/ --out meetings-like --num 100
  sdpn simulate --manifest conversations/manifest.jsonl --corpus corpora/speakers --out again
"""

#: What a manifest already says.
_DRAWN = (
    *("num", "seed", "duration", "min_speakers", "max_speakers", "statistics"),
    *("level_spread", "room_share", "noise_share", "snr"),
)

logger = logging.getLogger(__name__)

OUTPUTS: dict[str, OutputKind] = {"out": "whole folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn simulate``."""
    parser.add_argument(
        "--corpus", type=Path, action="append", required=True, metavar="DIR", help="may be repeated"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to make; an older simulation is replaced",
    )
    parser.add_argument(
        "--rir", type=Path, metavar="DIR", help="measured room impulse responses, at any depth"
    )
    parser.add_argument("--noise", type=Path, metavar="DIR", help="noise recordings, at any depth")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="make these conversations again, and draw nothing"
    )
    # without defaults here, to tell what was given beside --manifest
    drawn = parser.add_argument_group("what is drawn (not with --manifest)")
    drawn.add_argument("--num", type=int, metavar="N", help="conversations")
    drawn.add_argument("--seed", type=int, metavar="S", help="of everything random (default: 0)")
    drawn.add_argument("--duration", type=float, metavar="S", help="seconds of each (default: 180)")
    drawn.add_argument("--min-speakers", type=int, metavar="A", help="least speakers in one (default: 2)")
    drawn.add_argument("--max-speakers", type=int, metavar="B", help="most speakers in one (default: 6)")
    drawn.add_argument(
        "--statistics",
        type=Path,
        metavar="DIR|FILE",
        help="RTTMs to learn from how turns are taken, or a saved statistics.json (default: VoxConverse's)",
    )
    drawn.add_argument(
        "--level-spread", type=float, metavar="DB", help="deviation of the speakers' levels (default: 3)"
    )
    drawn.add_argument(
        "--room-share",
        type=float,
        metavar="P",
        help="share of conversations in a room, from --rir or simulated (default: 0.5)",
    )
    drawn.add_argument(
        "--noise-share",
        type=float,
        metavar="P",
        help="share with noise from --noise, rooms first (default: 0.5)",
    )
    drawn.add_argument(
        "--snr", type=float, nargs=2, metavar=("LOW", "HIGH"), help="range of its SNR in dB (default: 5 20)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Simulate, or make the conversations of a manifest again.

    Raises:
        InputError: an option, a folder, a recording or the manifest is wrong.
    """
    _check_options(args)
    from sdpn.data.manifest import read_manifest, write_manifest
    from sdpn.data.simulate import render
    from sdpn.data.sources import Folders, check_sources
    from sdpn.data.turn_statistics import estimate, read_statistics, voxconverse, write_statistics
    from sdpn.io.atomic import atomic_directory

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
    if args.jobs < 1:
        raise InputError(f"--jobs is {args.jobs}; expected 1 or more")
    given = [f"--{name.replace('_', '-')}" for name in _DRAWN if getattr(args, name) is not None]
    if args.manifest is not None and given:
        raise InputError(f"{given[0]} contradicts --manifest, which says all of that already")
    if args.manifest is None and args.num is None:
        raise InputError(
            "--num is missing: how many conversations?", hint="or --manifest, to make some again"
        )
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / "manifest.jsonl").is_file():
        raise InputError(
            "holds something else than a simulation, which would be lost",
            path=args.out,
            hint="name a new folder",
        )


def _plan(args: argparse.Namespace, statistics: TurnStatistics, folders: Folders) -> list[Conversation]:
    from sdpn.data.simulate import SimulationConfig, plan
    from sdpn.diarization.vad import detect_speech

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
    from sdpn.data.turn_statistics import quantile

    figures = {
        "speech overlapped, %": 100 * statistics.overlap_share,
        "silence, %": 100 * statistics.silence_share,
        "changes of speaker per min": statistics.changes_per_min,
        "interjections per min": statistics.interjections_per_min,
    }
    for name, distribution in (
        ("turn", statistics.turn_s),
        ("pause of a speaker", statistics.pause_s),
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
        print("The samples are those of the manifest.")
    if results["changed"]:
        logger.warning(
            "%d of %d conversations have other samples than the manifest says (another decoder?): %s",
            *(len(results["changed"]), results["conversations"], " ".join(results["changed"][:3])),
        )
