"""``sdpn link``: the same people across recordings."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from sdpn.cli.progress import Meter
from sdpn.cli.shard_arguments import ShardWork, add_shard_arguments, file_stamp, parsed_shard
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Find the same people in many diarized recordings: a table of people with their recordings and minutes.

Reads the JSON documents that 'sdpn diarize --format json --embeddings' has written. Speakers of
different recordings are compared by the model's back end (PLDA and AS-norm) and joined by average linkage;
two speakers of one recording are never one person. The threshold comes from the archive itself, without
labels: speakers of one recording are strangers, and what scores besides are higher is one person. The
linking error that is to be expected is printed beside; it is an estimate, and docs/linking.md says how good
it was.

Thousands of recordings need no matrix of all pairs, and an interrupted run goes on where it was. Who is
known by 'sdpn diarize --people' keeps the name.
"""

EXAMPLE = """\
  sdpn diarize --format json --embeddings --out out/ archive/
  sdpn link out/ --out linked/                   # linked/people.csv, linked/people.json
  sdpn link out2024/ out2025/ --out linked/ --threshold 4 --min-seconds 10
  sdpn batch --jobs 8 -- link archive/ --out linked/
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}

#: People shown.
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn link``."""
    parser.add_argument(
        "documents", nargs="+", type=Path, metavar="OUT", help="JSON documents of turns, or folders of them"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="writes DIR/people.csv and DIR/people.json"
    )
    parser.add_argument(
        "--back-end",
        type=Path,
        metavar="FILE",
        help="back end trained with this model (default: the model's own)",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="accept as the same speaker from this score on"
    )
    parser.add_argument(
        "--min-seconds",
        type=float,
        default=3.0,
        metavar="S",
        help="speakers with less speech are listed, but not linked (default: 3)",
    )
    add_shard_arguments(parser, "compare nobody, only link by what all shards have compared")


def shard_work(args: argparse.Namespace) -> ShardWork:
    """What shards of ``sdpn batch`` have to do: comparisons, each of which may be with any document.

    Raises:
        InputError: a document does not exist.
    """
    from sdpn.linking.speakers import find_documents

    lines = [file_stamp(path) for path in find_documents(args.documents)]
    return lambda _shard: lines


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Link, write, print.

    Raises:
        InputError: as `sdpn.linking.archive.link_archive`.
    """
    from sdpn.linking.archive import LinkOptions, compare_shard, link_archive

    options = LinkOptions(back_end=args.back_end, threshold=args.threshold, least_talk_s=args.min_seconds)
    shard = parsed_shard(args)
    meter = Meter(quiet=args.quiet, unit="speakers" if shard is None else "blocks")
    progress = partial(meter.show, "linking")
    try:
        if shard is not None:
            number = compare_shard(args.documents, args.out, shard, options, on_progress=progress)
            print(f"shard {args.shard}: {number} blocks of comparisons")
            return {"shard": args.shard, "num_blocks": number}
        result = link_archive(args.documents, args.out, options, merge=args.merge, on_progress=progress)
    finally:
        meter.finish()
    people = result["people"]
    width = max([len("person"), *(len(one["person"]) for one in people[:_SHOWN])])
    print(f"{'person':<{width}}  recordings  minutes")
    for one in people[:_SHOWN]:
        print(f"{one['person']:<{width}}  {one['num_recordings']:>10}  {one['minutes']:>7.1f}")
    if people[_SHOWN:]:
        print(f"... and {len(people) - _SHOWN} more, in {args.out / 'people.csv'}")
    print(
        f"{result['num_speakers']} speakers of {result['num_recordings']} recordings are {len(people)} people"
        + (
            f"; {len(result['too_short'])} with less than {args.min_seconds:g} s"
            if result["too_short"]
            else ""
        )
    )
    if result["estimated"]["f1"] is not None:
        shares = {name: 100 * value for name, value in result["estimated"].items()}
        print(
            f"estimated: {shares['precision']:.0f} % of linked pairs are one person, {shares['recall']:.0f} "
            f"% of the pairs of one person are linked (F1 {shares['f1']:.0f} %)"
        )
    return result
