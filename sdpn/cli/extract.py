"""``sdpn extract``."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments, seekable_stdin
from sdpn.cli.model_arguments import add_device_argument, add_model_arguments, find_device, load
from sdpn.cli.numbers import at_least
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import find_utterances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdpn.extraction.merge import Output, Status
    from sdpn.extraction.shard import Shard
    from sdpn.io.kaldi import Utterance

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
    work.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="precision of the network; auto (default) times both at the start where the processor "
        "supports bf16, and the first process decides for all",
    )
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
    work.add_argument(
        "--shard", metavar="I/N", help="only every N-th utterance, starting with number I, counted from 0"
    )
    work.add_argument(
        "--merge",
        action="store_true",
        help="embed nothing, only write the tables from the results of all shards",
    )


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

    import time

    from sdpn.extraction.merge import Output, alone, merge, scan

    output = Output(folder=args.out)
    results: dict[str, Any] = {
        "scp": str(output.scp.resolve()),
        "num_utterances": len(utterances),
        "shard": str(shard),
    }
    if not args.merge:
        started = time.perf_counter()
        results |= _embed(args, utterances, output, shard, windows)
        results["seconds"] = time.perf_counter() - started
        with alone(output):
            status = scan(output, utterances)
        if status.missing:
            own = {utterance.id for utterance in shard.of(utterances)}
            failed = {name: why for name, why in status.failed.items() if name in own}
            _print_failed(failed, output.part(str(shard)).with_suffix(".failed"))
            print(
                f"shard {shard}: {len(own) - len(failed)} of {len(own)} utterances are embedded; "
                f"{len(status.missing)} of other shards are missing; the last shard to finish writes the "
                "tables"
            )
            return results | {"merged": False, "num_failed": len(failed)}
    status = merge(output, utterances, _recordings(args.data), npz=args.npz)
    return results | _summary(status, output, results)


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:
    """1 where utterances failed, unless that was allowed.

    Under torchrun only the process that merges returns 1: torchrun would take the first 1 for a crash and
    kill the others.
    """
    if args.skip_bad:
        return 0
    by_torchrun = args.shard is None and results["shard"] != "0-of-1"
    return 1 if results["num_failed"] and (results["merged"] or not by_torchrun) else 0


def _embed(
    args: argparse.Namespace, utterances: Sequence[Utterance], output: Output, shard: Shard, windows: Any
) -> dict[str, Any]:
    """Embed the utterances of this shard that are not embedded yet."""
    from sdpn.cli.progress import Meter
    from sdpn.extraction.embed import embed_missing
    from sdpn.extraction.extractor import Extractor
    from sdpn.extraction.processor import usable_threads
    from sdpn.interop.onnx import OnnxEncoder

    threads = args.threads or usable_threads()
    model = load(args, device=find_device(args.device))
    extractor = Extractor(
        model,
        windows=windows,
        threads=threads,
        readers=args.readers or threads,
        batch_size=args.batch_size,
    )
    if isinstance(model.encoder, OnnxEncoder) and args.precision == "bf16":
        raise InputError("--precision bf16 does not apply to ONNX graphs, whose precision is fixed")
    meter = Meter(quiet=args.quiet)
    try:
        settings, number, speech_s = embed_missing(
            output,
            utterances,
            model,
            extractor,
            shard=shard,
            precision=None if args.precision == "auto" else args.precision,
            on_progress=partial(meter.show, "embedding"),
        )
    finally:
        meter.finish()
    return {
        "embedding_dim": model.embedding_dim,
        "precision": settings.precision,
        "device": str(model.device),
        "num_embedded_now": number,
        "duration_s": speech_s,
    }


def _recordings(data: Path | None) -> dict[str, str]:
    """Utterance -> recording where there are segments."""
    from sdpn.io.kaldi import read_segments

    if data is None or not (data / "segments").is_file():
        return {}
    return {segment.id: segment.recording for segment in read_segments(data / "segments")}


def _summary(status: Status, output: Output, results: dict[str, Any]) -> dict[str, Any]:
    """Print a summary of the tables."""
    _print_failed(status.failed, output.failed)
    entries = [entry for entry, _ in status.finished.values()]
    number = sum(entry.num_vectors for entry in entries)
    total_s = sum(entry.duration_s for entry in entries)
    line = f"{number} embeddings"
    if "embedding_dim" in results:
        line += f" of {results['embedding_dim']} dimensions"
    line += f": {output.scp}  ({total_s / 3600:.2f} h of {len(entries)} utterances"
    if results.get("duration_s"):
        seconds, speech_s = results["seconds"], results["duration_s"]
        line += (
            f"; {speech_s / 3600:.2f} h now, in {seconds:.0f} s, real-time factor {seconds / speech_s:.4f}, "
            f"{results['precision']}"
        )
    print(line + ")")
    return {
        "merged": True,
        "num_embeddings": number,
        "num_failed": len(status.failed),
        "failed": dict(status.failed),
        "total_duration_s": total_s,
    }


def _print_failed(failed: Mapping[str, str], listed: Path) -> None:
    """List failures, and the file that has all of them."""
    if not failed:
        return
    print(f"sdpn extract: {len(failed)} utterances have no embedding:", file=sys.stderr)
    for name, why in list(failed.items())[:_SHOWN]:
        print(f"  {name}: {why}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"  and {len(failed) - _SHOWN} more: {listed}", file=sys.stderr)
