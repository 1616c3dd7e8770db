"""Linking of speakers across conversations: pairwise F1 beside the estimate that the command prints.

    python tools/benchmarks/linking.py --data shared/data --model fast --out exp/linking

For each corpus: `sdpn simulate` makes 18 conversations of its first 24 dev speakers (with ``--part train``
training speakers, to choose by), each in three of them; `sdpn diarize` and `sdpn link` follow. The person of
an appearance is who speaks most of it in the reference.
Pairs of appearances in different recordings are counted; appearances that were too short to be linked count
as persons of their own, and so as missed. What is there already in --out is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path

from sdpn.cli.main import main as sdpn
from sdpn.io.rttm import read_rttm, read_rttms

CORPORA = ("speechocean762", "commonvoice")
SPEAKERS, FEWEST_CLIPS = 24, 4
CONVERSATIONS = (
    "--num",
    "18",
    "--seed",
    "77",
    "--min-speakers",
    "4",
    "--max-speakers",
    "4",
    "--duration",
    "90",
)


def main() -> None:
    """Print precision, recall and F1 of each corpus, estimated and true."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the corpora")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--part", choices=("dev", "train"), default="dev", help="whose speakers")
    args = parser.parse_args()
    for corpus in CORPORA:
        name = corpus if args.part == "dev" else f"{corpus}.{args.part}"
        sim, turns = args.out / f"{name}.sim", args.out / f"{name}.{args.model.replace('/', '-')}"
        linked = turns.with_name(f"{turns.name}.linked")
        if not sim.exists():
            speakers = args.out / f"{name}.speakers"
            speakers.mkdir(parents=True, exist_ok=True)
            folders = sorted(path for path in (args.data / corpus / args.part).iterdir() if path.is_dir())
            folders = [path for path in folders if len(list(path.iterdir())) >= FEWEST_CLIPS]
            for folder in folders[:SPEAKERS]:
                if not (speakers / folder.name).exists():
                    (speakers / folder.name).symlink_to(folder.resolve())
            sounds = ["--rir", args.data / "rir", "--noise", args.data / "noise"]
            run("simulate", "--corpus", speakers, *CONVERSATIONS, *sounds, "--out", sim)
        files = sorted(sim.glob("*.flac"))
        options = ["--format", "json,rttm", "--embeddings", "--out", turns]
        run("diarize", *files, "--model", args.model, *options)
        run("link", turns, "--out", linked)
        print(f"{name}: {figures(sim / 'reference.rttm', turns, linked / 'people.json')}", flush=True)


def run(*words: object) -> None:
    """Run a command of sdpn.

    Raises:
        SystemExit: it failed.
    """
    if code := sdpn([*map(str, words), "--quiet"]):
        raise SystemExit(code)


def figures(reference: Path, turns: Path, linked: Path) -> str:
    """What is right and what was estimated, as text."""
    people = json.loads(linked.read_text())
    truth = true_people(reference, turns)
    found = {
        (one["recording"], one["speaker"]): person["person"]
        for person in people["people"]
        for one in person["appearances"]
    }
    num_linked = right = same = 0
    for first, second in combinations(sorted(truth), 2):
        if first[0] == second[0]:
            continue
        is_same = truth[first] == truth[second]
        is_linked = first in found and second in found and found[first] == found[second]
        same += is_same
        num_linked += is_linked
        right += is_same and is_linked
    precision, recall = right / max(num_linked, 1), right / max(same, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    estimated = people["estimated"]
    shown = "  ".join(f"{name} {estimated[name]:.3f}" for name in ("precision", "recall", "f1"))
    return (
        f"{len(truth)} appearances of {len(set(truth.values()))} people, {len(people['people'])} found\n"
        f"  true      precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}  "
        f"({num_linked} linked, {same} same)\n"
        f"  estimated {shown}  (threshold {people['threshold']})"
    )


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
