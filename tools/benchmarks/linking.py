"""Linking of speakers across conversations: pairwise F1 beside the estimate that the command prints.

    sdpn simulate --corpus speakers --num 18 --seed 77 --min-speakers 4 --max-speakers 4 --duration 90 \
        --rir data/rir --noise data/noise --out sim         # 24 speakers, each in three conversations
    sdpn diarize sim/*.flac --format json,rttm --embeddings --out out
    sdpn link out --out linked
    python tools/benchmarks/linking.py --reference sim/reference.rttm --turns out --people linked/people.json

The person of an appearance is who speaks most of it in the reference. Pairs of appearances in different
recordings are counted; appearances that were too short to be linked count as persons of their own, and so
as missed.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path

from sdpn.io.rttm import read_rttm, read_rttms


def main() -> None:
    """Print precision, recall and F1, estimated and true."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, required=True, metavar="RTTM")
    parser.add_argument("--turns", type=Path, required=True, metavar="DIR", help="RTTM files")
    parser.add_argument("--people", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    people = json.loads(args.people.read_text())
    truth = true_people(args.reference, args.turns)
    found = {
        (one["recording"], one["speaker"]): person["person"]
        for person in people["people"]
        for one in person["appearances"]
    }
    linked = right = same = 0
    for first, second in combinations(sorted(truth), 2):
        if first[0] == second[0]:
            continue
        is_same = truth[first] == truth[second]
        is_linked = first in found and second in found and found[first] == found[second]
        same += is_same
        linked += is_linked
        right += is_same and is_linked
    precision, recall = right / max(linked, 1), right / max(same, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    print(f"{len(truth)} appearances of {len(set(truth.values()))} people, {len(people['people'])} found")
    print(
        f"true      precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}  "
        f"({linked} linked, {same} same)"
    )
    estimated = people["estimated"]
    shown = "  ".join(f"{name} {estimated[name]:.3f}" for name in ("precision", "recall", "f1"))
    print(f"estimated {shown}  (threshold {people['threshold']})")


def true_people(reference: Path, turns: Path) -> dict[tuple[str, str], str]:
    """Who speaks most in the turns of each speaker of each recording."""
    spoken, found = read_rttm(reference), read_rttms(sorted(turns.glob("*.rttm")))
    truth = {}
    for recording, own in found.items():
        shared: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for turn in own:
            for other in spoken[recording]:
                seconds = min(turn.end_s, other.end_s) - max(turn.onset_s, other.onset_s)
                shared[turn.speaker][other.speaker] += max(seconds, 0.0)
        for speaker, seconds_of in shared.items():
            truth[recording, speaker] = max(sorted(seconds_of), key=seconds_of.__getitem__)
    return truth


if __name__ == "__main__":
    main()
