"""``sdpn extract``."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments, seekable_stdin
from sdpn.cli.model_arguments import (
    add_device_argument,
    add_model_arguments,
    add_precision_argument,
    add_runtime_argument,
    load_for_runtime,
)
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.cli.shard_arguments import add_shard_arguments
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import STDIN, find_utterances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdpn.cli.shard_arguments import ShardWork
    from sdpn.extraction.extract import Extraction

DESCRIPTION = """\
Extract one embedding for each utterance of a Kaldi data directory, or for each given recording (files,
folders, - for standard input), and write them to OUT/embeddings.ark and .scp. With --windows, one embedding
for each window.

Accepts nearly any audio format (docs/audio.md) at any sampling rate; with a segments file, each segment is an
utterance. The id of a file is its stem; within a folder, its path below the folder. The tables are written
when all utterances are embedded; until then results are kept in OUT/progress, and rerunning the command
resumes from there. Utterances that cannot be read are reported, also in OUT/failed.txt, and do not stop the
others.

Several processes can share the work, under torchrun or with --shard, on one machine or on several with a
shared folder. The last one to finish checks that nothing is missing or duplicated and writes the tables.

Exit code: 0 if all utterances (of this shard) are embedded; 1 if some failed and the others are embedded (0
with --skip-bad); 2 on an error, with nothing written. Under torchrun, only the process that writes the tables
returns 1.
"""

EXAMPLE = """\
  sdpn extract --model exp/mini/model --data data/dev --out exp/mini/embeddings
  sdpn extract --model exp/mini/model --data data/meetings --windows 1.5/0.75 --out exp/mini/windows
  sdpn extract --out out/voices a.wav b.mp3 recordings/
  sdpn extract --out out/calls --channel separate calls/
  torchrun --nproc-per-node 4 --no-python sdpn extract --model campplus.bin --format 3dspeaker \\
    --data data/train --out exp/campplus
  sdpn extract --model exp/mini/model --data data/train --out exp/mini/train --shard 0/8
"""

#: Failures that are listed on the terminal; the file has all of them.
_SHOWN = 10

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sdpn extract``."""
    add_model_arguments(parser)
    parser.add_argument(
        "audio", nargs="*", type=Path, metavar="AUDIO", help="files, folders, or - for standard input"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="instead: a Kaldi data directory, or a folder of recordings"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="output folder for ark and scp"
    )
    parser.add_argument(
        "--windows",
        metavar="L/H",
        help="one embedding for each window of L seconds, every H seconds (such as 1.5/0.75); also writes "
        "their times to OUT/segments, as 'sdpn cluster' expects. Memory does not grow with the length "
        "of a recording",
    )
    parser.add_argument(
        "--npz", action="store_true", help="also write OUT/embeddings.npz: ids (N,) and embeddings (N, D)"
    )
    add_audio_arguments(parser)
    work = parser.add_argument_group("computation")
    add_runtime_argument(work)
    add_precision_argument(work)
    add_device_argument(work)
    work.add_argument(
        "--batch-size",
        type=at_least(1),
        metavar="N",
        help="maximum utterances per batch (default: depends on the device)",
    )
    work.add_argument(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="utterances embedded in parallel on a CPU (default: number of cores)",
    )
    work.add_argument(
        "--readers", type=at_least(1), metavar="N", help="files read in parallel (default: number of cores)"
    )
    add_shard_arguments(parser, "embed nothing, only write the tables from the results of all shards")


def shard_work(args: argparse.Namespace) -> ShardWork:
    """What shards of ``sdpn batch`` have to do: utterances.

    Raises:
        InputError: standard input cannot be divided, or the data cannot be read.
    """
    from sdpn.extraction.part import signature

    if STDIN in args.audio:
        raise InputError("standard input cannot be divided into shards", hint="give files or folders")
    utterances = find_utterances(
        args.data, args.audio, channel=args.channel, skip_bad=args.skip_bad, check_files=False
    )
    lines = [f"{utterance.id} {signature(utterance)}" for utterance in utterances]
    return lambda shard: shard.of(lines)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed what is not embedded yet, and write the tables once all is."""
    with seekable_stdin(args.audio) as paths:
        return _run(args, paths)


def _run(args: argparse.Namespace, paths: Sequence[Path]) -> dict[str, Any]:
    from sdpn.extraction.clips import parse_windows
    from sdpn.extraction.shard import find_shard

    windows = None if args.windows is None else parse_windows(args.windows)
    shard = find_shard(args.shard)
    utterances = find_utterances(
        args.data, paths, channel=args.channel, skip_bad=args.skip_bad, check_files=False
    )

    from sdpn.extraction.extract import extract, merge_shards, recordings_of

    recordings = recordings_of(args.data)
    if args.merge:
        done = merge_shards(utterances, args.out, recordings=recordings, npz=args.npz)
    else:
        model = load_for_runtime(args)
        meter = Meter(quiet=args.quiet)
        try:
            done = extract(
                model,
                utterances,
                args.out,
                windows=windows,
                recordings=recordings,
                precision=None if args.precision == "auto" else args.precision,
                batch_size=args.batch_size,
                threads=args.threads,
                readers=args.readers,
                shard=shard,
                npz=args.npz,
                on_progress=partial(meter.show, "embedding"),
            )
        finally:
            meter.finish()
    _print(done)
    return done.to_dict() | {"shard": str(shard)}


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:
    """1 where utterances failed, unless that was allowed.

    Under torchrun only the process that merges returns 1: torchrun would take the first 1 for a crash and
    kill the others.
    """
    if args.skip_bad:
        return 0
    by_torchrun = args.shard is None and results["shard"] != "0-of-1"
    return 1 if results["num_failed"] and (results["merged"] or not by_torchrun) else 0


def _print(done: Extraction) -> None:
    """What was embedded, or what this shard has embedded so far."""
    if not done.merged:
        _print_failed(done.failed, done.output.part(str(done.shard)).with_suffix(".failed"))
        own = len(done.shard.of(range(done.num_utterances)))
        print(
            f"shard {done.shard}: {own - len(done.failed)} of {own} utterances are embedded; "
            f"{len(done.status.missing)} of other shards are missing; the last shard to finish writes the "
            "tables"
        )
        return
    _print_failed(done.failed, done.output.failed)
    line = f"{done.num_embeddings} embeddings"
    if done.embedded is not None:
        line += f" of {done.embedded.settings.embedding_dim} dimensions"
    hours = f"{done.total_duration_s / 3600:.2f} h"
    line += f": {done.output.scp}  ({hours} of {len(done.status.finished)} utterances"
    if done.embedded is not None and done.embedded.duration_s:
        speech_s = done.embedded.duration_s
        line += (
            f"; {speech_s / 3600:.2f} h now, in {done.seconds:.0f} s, real-time factor "
            f"{done.seconds / speech_s:.4f}, {done.embedded.settings.precision}"
        )
    print(line + ")")


def _print_failed(failed: Mapping[str, str], listed: Path) -> None:
    """List failures, and the file that has all of them."""
    if not failed:
        return
    print(f"sdpn extract: {len(failed)} utterances have no embedding:", file=sys.stderr)
    for name, why in list(failed.items())[:_SHOWN]:
        print(f"  {name}: {why}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"  and {len(failed) - _SHOWN} more: {listed}", file=sys.stderr)
