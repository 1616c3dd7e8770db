"""Scoring of diarizations: sdpn against pyannote.metrics called plainly, on the same recordings.

python tools/benchmarks/scoring.py FOLDER [--jobs N] [--repeat K]

FOLDER holds reference RTTMs; hypotheses are damaged copies. Every side starts from turns in memory.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pyannote.core import Annotation, Segment
from pyannote.metrics.base import BaseMetric
from pyannote.metrics.diarization import (
    DiarizationCoverage,
    DiarizationErrorRate,
    DiarizationPurity,
    JaccardErrorRate,
)

from sdpn.io.rttm import Turn, merge_overlaps, read_rttms
from sdpn.metrics.diarization import Figures, score_recordings, total_figures

Recordings = dict[str, list[Turn]]
Result = TypeVar("Result")


def main() -> None:
    """Print the time of each side, their ratios, and how far their results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1, help="copies of the folder, for a larger corpus")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # pyannote's, about the missing UEM

    references = {
        f"{name}-{copy}": [replace(turn, recording=f"{name}-{copy}") for turn in turns]
        for name, turns in read_rttms(sorted(args.folder.glob("*.rttm"))).items()
        for copy in range(args.repeat)
    }
    rng = random.Random(0)
    hypotheses = {name: damaged(turns, rng) for name, turns in references.items()}
    print(f"{len(references)} recordings, {sum(map(len, references.values()))} turns of the reference")

    one_s, (der,) = best_of(3, lambda: plain(references, hypotheses, [DiarizationErrorRate()]))
    all_s, rates = best_of(
        3,
        lambda: plain(
            references,
            hypotheses,
            [
                *(DiarizationErrorRate(), DiarizationErrorRate(collar=0.5), JaccardErrorRate()),
                *(DiarizationPurity(), DiarizationCoverage()),
            ],
        ),
    )
    ours_s, scores = best_of(3, lambda: score_recordings(references, hypotheses))
    jobs_s, shared = best_of(3, lambda: score_recordings(references, hypotheses, jobs=args.jobs))
    total = total_figures(scores)
    for what, seconds in [
        ("pyannote.metrics, DER at one collar", one_s),
        ("pyannote.metrics, DER at two collars, JER, purity, coverage", all_s),
        ("sdpn, the same figures and speaker counts, 1 process", ours_s),
        (f"sdpn, the same, {args.jobs} processes", jobs_s),
    ]:
        print(
            f"{what:<62}{seconds:8.3f} s   {one_s / seconds:6.2f} x the first, {all_s / seconds:6.2f} x all"
        )
    print(f"{args.jobs} processes against 1: {ours_s / jobs_s:.2f} x; same result: {shared == scores}")
    print(f"DER {100 * total.components.der:.4f} %, pyannote.metrics {100 * der:.4f} %")
    print(f"largest difference {max(differences(total, rates)):.1e} (JER apart, which pairs as dscore does)")


def damaged(turns: list[Turn], rng: random.Random) -> list[Turn]:
    """Turns as a diarizer might find them: off by up to 0.6 s, some dropped, some of the wrong speaker."""
    speakers = [turn.speaker for turn in turns]
    found = [
        replace(
            turn,
            onset_s=max(0.0, turn.onset_s + rng.uniform(-0.6, 0.6)),
            speaker=turn.speaker if rng.random() > 0.15 else rng.choice(speakers),
        )
        for turn in turns
        if rng.random() > 0.08
    ]
    return merge_overlaps(sorted(found))


def plain(references: Recordings, hypotheses: Recordings, metrics: list[BaseMetric]) -> list[float]:
    """What a script does: an annotation for each side, every metric on it, the totals at the end."""
    for name, turns in references.items():
        sides = []
        for side in (turns, hypotheses[name]):
            annotation = Annotation(uri=name)
            for track, turn in enumerate(side):
                annotation[Segment(turn.onset_s, turn.end_s), track] = turn.speaker
            sides.append(annotation)
        for metric in metrics:
            metric(*sides)
    return [abs(metric) for metric in metrics]


def differences(total: Figures, rates: list[float]) -> list[float]:
    """Between the totals of both sides: DER at two collars, purity, coverage."""
    figures = total.components.der, total.nist.der, total.clusters.purity, total.clusters.coverage
    return [abs(ours - theirs) for ours, theirs in zip(figures, [*rates[:2], *rates[3:]], strict=True)]


def best_of(runs: int, function: Callable[[], Result]) -> tuple[float, Result]:
    """Shortest time of several runs, in seconds, and the result."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
    return min(times), result


if __name__ == "__main__":
    main()
