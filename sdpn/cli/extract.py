"""``sdpn extract``."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.audio_arguments import add_audio_arguments, find_utterances, seekable_stdin
from sdpn.cli.model_arguments import add_model_arguments, load
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdpn.extraction.merge import Output, Status
    from sdpn.extraction.shard import Shard
    from sdpn.io.kaldi import Utterance

DESCRIPTION = """\
Write one embedding for every utterance of a Kaldi data directory, or every recording that is named (files,
folders, - for standard input), as OUT/embeddings.ark and .scp; with --windows for every window of it.

Audio of any rate and nearly any format is taken (docs/audio.md); with a segments file, each segment is an
utterance. A file is called by its stem, one in a folder by its path below it. The tables appear only when
all is embedded; until then what is finished lies in OUT/progress, and the same command goes on from there.
Utterances that cannot be read are listed, in OUT/failed.txt too, and do not stop the others.

Several processes share the work under torchrun, or with --shard, on one machine or on many that see the same
folder. The last to finish writes the tables, once nothing is missing and nothing is double.

Exit code: 0, all utterances are embedded (or this shard's); 1, some failed, the others are embedded (0 with
--skip-bad); 2, nothing was done or written, and the message says why. Under torchrun the process that writes
the tables says 1 for all.
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

#: Failures that are told on the terminal; all stand in the file.
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
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the ark and scp")
    parser.add_argument(
        "--windows",
        metavar="L/H",
        help="one embedding for each window of L seconds, every H seconds (1.5/0.75); OUT/segments has their "
        "times, and 'sdpn cluster' reads both. Memory does not grow with the length of a recording",
    )
    parser.add_argument(
        "--npz", action="store_true", help="also OUT/embeddings.npz: ids (N,) and embeddings (N, D)"
    )
    add_audio_arguments(parser)
    work = parser.add_argument_group("how the work is done")
    work.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="of the network; auto (default) times both at the start where the processor computes bf16, and "
        "the first process decides for all",
    )
    work.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    work.add_argument(
        "--batch-size",
        type=_count,
        metavar="N",
        help="most utterances in a batch (default: what suits the device)",
    )
    work.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="utterances embedded at a time on a CPU (default: its cores)",
    )
    work.add_argument("--readers", type=_count, metavar="N", help="files read at a time (default: the cores)")
    work.add_argument(
        "--shard", metavar="I/N", help="only every N-th utterance, from number I; I counts from 0"
    )
    work.add_argument(
        "--merge",
        action="store_true",
        help="embed nothing, only write the tables from what all shards have done",
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
            _tell_failed(failed, output.part(str(shard)).with_suffix(".failed"))
            print(
                f"shard {shard}: {len(own) - len(failed)} of {len(own)} utterances are embedded; "
                f"{len(status.missing)} of other shards are missing, and the last one will write the tables"
            )
            return results | {"merged": False, "num_failed": len(failed)}
    status = merge(output, utterances, _recordings(args.data), npz=args.npz)
    return results | _summary(status, output, results)


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:
    """1 where utterances failed, unless that was allowed.

    Under torchrun only the process that merges says so: torchrun would take the first 1 for a crash and kill
    the others.
    """
    if args.skip_bad:
        return 0
    by_torchrun = args.shard is None and results["shard"] != "0-of-1"
    return 1 if results["num_failed"] and (results["merged"] or not by_torchrun) else 0


def _embed(
    args: argparse.Namespace, utterances: Sequence[Utterance], output: Output, shard: Shard, windows: Any
) -> dict[str, Any]:
    """Embed the utterances of this shard that are not embedded yet."""
    from sdpn.cli.device import find_device
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
        raise InputError("--precision bf16 is for torch; a graph has the precision it was written with")
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
    """Tell what the tables hold."""
    _tell_failed(status.failed, output.failed)
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


def _tell_failed(failed: Mapping[str, str], listed: Path) -> None:
    """Say what failed, and where all of it is listed."""
    if not failed:
        return
    print(f"sdpn extract: {len(failed)} utterances have no embedding:", file=sys.stderr)
    for name, why in list(failed.items())[:_SHOWN]:
        print(f"  {name}: {why}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"  and {len(failed) - _SHOWN} more: {listed}", file=sys.stderr)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return value
