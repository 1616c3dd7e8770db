"""``sdpn pack``: a training corpus in a few large files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Pack the speech of Kaldi data directories into a few large files: faster to copy and to read from network
disks than thousands of small ones. The pack is itself a data directory: every command with --data reads it
as it is, and trains on the same samples, bit for bit.

PACK holds shard-000000.tar, shard-000001.tar, ..., wav.scp (where each recording begins in them), utt2spk and
segments where there is something for them, pack.json and SHA256SUMS. Compressed recordings are stored as they
are, PCM becomes FLAC. Segments of PCM and FLAC are cut out; a compressed recording, which cannot be cut
without a loss, is stored once for all of its segments. Other tools read the shards too: KEY.json and
KEY.opus (or .flac, ...) follow each other, as webdataset wants them.

Rerunning the command resumes an interrupted run; the files come out the same, byte for byte.

With --index, DIR is a folder of tar shards that another tool wrote, such as webdataset's ShardWriter. Nothing
is copied: PACK gets the tables, and links to the shards. A shard that is missing in their numbering,
truncated, or there twice is an error.
"""

EXAMPLE = """\
  sdpn pack --data data/train --out packs/train
  sdpn train --config conf/mini.yaml --data packs/train --out exp/mini

  sdpn pack --data data/a --data data/b --shard-mb 500 --skip-bad --out packs/both
  (cd packs/both && sha256sum -c SHA256SUMS)                 after copying

  sdpn pack --index --data /corpora/shards --out data/sharded
  sdpn train --data data/sharded --out exp/sharded training.shuffle_buffer=20000
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn pack``."""
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="Kaldi data directory (wav.scp, optionally segments and utt2spk), another pack, a file of "
        "lhotse's cuts (.jsonl, .jsonl.gz), or with --index a folder of tar shards; repeatable",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PACK",
        help="folder of the pack: a new or an unfinished one",
    )
    parser.add_argument(
        "--shard-mb",
        type=at_least(1),
        default=60,
        metavar="MB",
        help="maximum size of a shard in millions of bytes (default: 60)",
    )
    parser.add_argument(
        "--index",
        action="store_true",
        help="copy nothing: make a data directory of the tar shards in DIR, by one pass over their headers",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out recordings that are missing, truncated or not audio, and say which, instead of "
        "stopping at the first",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Pack.

    Raises:
        InputError: a directory or a recording is wrong, or the pack cannot be written.
    """
    if args.index:
        return _index(args)
    from sdpn.data.pack import MB, pack

    meter = Meter(quiet=args.quiet)
    packed = pack(
        args.data,
        args.out,
        shard_bytes=args.shard_mb * MB,
        skip_bad=args.skip_bad,
        on_progress=lambda done, total: meter.show("packing", done, total),
    )
    meter.finish()
    for line in packed.skipped:
        print(f"left out: {line}")
    print(
        f"{packed.num_utterances} utterances, {packed.num_bytes / MB:.1f} MB in {packed.num_shards} "
        f"{'shard' if packed.num_shards == 1 else 'shards'}: {args.out}"
    )
    return {**packed._asdict(), "data": str(args.out.resolve())}


def _index(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.data.shard_index import index_shards, uneven

    meter = Meter(quiet=args.quiet)
    try:
        found = index_shards(
            args.data,
            args.out,
            skip_bad=args.skip_bad,
            on_progress=lambda done, total: meter.show("indexing", done, total),
        )
    finally:
        meter.finish()
    for line in found.skipped:
        print(f"left out: {line}")
    if (unequal := uneven(found.sizes)) is not None:
        print(unequal)
    print(f"{found.num_utterances} utterances in {len(found.sizes)} shards, not copied: {args.out}")
    return {**found._asdict(), "data": str(args.out.resolve())}
