#!/usr/bin/env python3
"""The two halves of every utterance as a data directory of their own, with the ids UTT-1 and UTT-2.

    local/halves.py --data exp/data/train --out exp/data/train_halves

Both are certain to have one speaker: pseudo_labels.py learns from them what differs within a voice. Nothing
is cut, segments says where they lie. An utterance too short for two halves, or unreadable, has none here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sdpn.cli.progress import track
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from sdpn.verification.parts import SHORTEST_PART_S


def halves(utterance: Utterance) -> tuple[float, float, float] | None:
    """Where an utterance begins, is halved and ends, in seconds; None where it is too short."""
    duration_s = utterance.num_samples() / RATE_HZ
    if duration_s < 2 * SHORTEST_PART_S:
        return None
    return utterance.start_s, utterance.start_s + duration_s / 2, utterance.start_s + duration_s


def main() -> None:
    """Read, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="that of the halves")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args()
    try:
        utterances = read_data_dir(args.data)
        recordings: dict[Path, str] = {}
        segments, without = [], []
        for utterance in track(utterances, description="halves", total=len(utterances), quiet=args.quiet):
            try:
                found = halves(utterance)
            except InputError as error:
                without.append(f"{utterance.id}: {error}")
                continue
            if found is None:
                without.append(f"{utterance.id}: shorter than {2 * SHORTEST_PART_S:g} s")
                continue
            recording = recordings.setdefault(utterance.path, utterance.id)
            start_s, middle_s, end_s = found
            segments.append(f"{utterance.id}-1 {recording} {start_s:.4f} {middle_s:.4f}\n")
            segments.append(f"{utterance.id}-2 {recording} {middle_s:.4f} {end_s:.4f}\n")
        if not segments:
            raise InputError("no utterance can be halved: " + "; ".join(without[:3]), path=args.data)
        write_data_dir(args.out, [Utterance(name, path) for path, name in recordings.items()])
        atomic_write_text(args.out / "segments", "".join(segments))
    except InputError as error:
        parser.exit(2, f"halves.py: error: {error}\n")
    print(f"{len(segments) // 2} of {len(utterances)} utterances in halves: {args.out}")
    for line in without[:5]:
        print(f"  without: {line}")


if __name__ == "__main__":
    main()
