#!/usr/bin/env python3
"""Plot the turn-taking of simulated conversations next to that of the real ones they are modelled on.

    tools/plot_simulation.py --simulated OUT/reference.rttm --real RTTM_DIR --recording sim06 --png FILE

Top: a simulated conversation and a section of a real recording with the same number of speakers. Bottom: the
cumulative distributions of turns, pauses, gaps, overlaps and interjections, and of the overlap per recording.
Real recordings are cut to the length of the simulated conversations, since cutting shortens turns. Also
prints the Kolmogorov-Smirnov distance of each distribution.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.rttm import Turn, merge_overlaps, read_rttms
from sdpn.simulation.turn_statistics import JOIN_S, Observed, observe

COLOURS = ("#3b6fb6", "#d1495b", "#3a9a6b", "#e0a030", "#7d5ba6", "#5a5a5a")
REAL, SIMULATED = "#8a8a8a", "#d1495b"
PANELS = {
    "turn_s": "turns",
    "pause_s": "pauses of a speaker",
    "gap_s": "gaps between speakers",
    "overlap_s": "overlaps at a change",
    "interjection_s": "interjections",
}


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--simulated", type=Path, required=True, metavar="RTTM")
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="folder of RTTM files")
    parser.add_argument("--recording", required=True, help="the simulated conversation to show")
    parser.add_argument("--png", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(argv)
    simulated = with_company(read_rttms([args.simulated]))
    span_s = max((turn.end_s for turns in simulated.values() for turn in turns), default=0.0)
    real = with_company(cut(read_rttms(sorted(args.real.rglob("*.rttm"))), span_s))
    if args.recording not in simulated:
        raise InputError(f"has no recording {args.recording!r} of two speakers", path=args.simulated)
    if not real:
        raise InputError(f"holds no {span_s:.0f} s in which two speakers take turns", path=args.real)
    draw(simulated, real, args.recording, args.png)


def with_company(recordings: dict[str, list[Turn]]) -> dict[str, list[Turn]]:
    """The recordings in which two or more speak, short silences bridged."""
    joined = {name: merge_overlaps(turns, pause_s=JOIN_S) for name, turns in recordings.items()}
    return {name: turns for name, turns in joined.items() if len({turn.speaker for turn in turns}) > 1}


def cut(recordings: dict[str, list[Turn]], span_s: float) -> dict[str, list[Turn]]:
    """Whole pieces of ``span_s`` seconds; their times start at 0."""
    pieces = {}
    for name, turns in recordings.items():
        for index in range(int(max((turn.end_s for turn in turns), default=0.0) // span_s)):
            start_s, end_s = index * span_s, (index + 1) * span_s
            piece = f"{name} from {start_s:.0f} s"
            pieces[piece] = [
                replace(
                    turn,
                    recording=piece,
                    onset_s=max(turn.onset_s, start_s) - start_s,
                    duration_s=min(turn.end_s, end_s) - max(turn.onset_s, start_s),
                )
                for turn in turns
                if turn.onset_s < end_s and turn.end_s > start_s
            ]
    return pieces


def draw(simulated: dict[str, list[Turn]], real: dict[str, list[Turn]], recording: str, png: Path) -> None:
    """Write the picture and print the distances."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplot_mosaic(
        [["simulated"] * 6, ["real"] * 6, ["a", "a", "b", "b", "c", "c"], ["d", "d", "e", "e", "f", "f"]],
        height_ratios=[1, 1, 1.6, 1.6],
    )
    turns = simulated[recording]
    span_s = max(turn.end_s for turn in turns)
    draw_timeline(axes["simulated"], turns, span_s, f"simulated: {recording}")
    name = similar(real, len({turn.speaker for turn in turns}))
    draw_timeline(axes["real"], real[name], span_s, f"real: {name}")
    axes["real"].set_xlabel("s")

    groups = {
        "real": [observe(each) for each in real.values()],
        "simulated": [observe(each) for each in simulated.values()],
    }
    for panel, (field, title) in zip("abcde", PANELS.items(), strict=True):
        values = {
            label: np.concatenate([getattr(one, field) for one in group]) for label, group in groups.items()
        }
        draw_distribution(axes[panel], values, title)
        axes[panel].set_xscale("symlog", linthresh=0.25)
        axes[panel].set_xlim(left=0)
        axes[panel].set_xlabel("s")
    shares = {label: np.array([100 * share(one) for one in group]) for label, group in groups.items()}
    draw_distribution(axes["f"], shares, "overlap of a recording")
    axes["f"].set_xlabel("% of the speech")
    axes["a"].legend(loc="lower right", frameon=False)
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=100)
    pyplot.close(figure)


def share(one: Observed) -> float:
    """Share of the speech that is overlapped."""
    return one.overlapped_s / one.speech_s


def similar(real: dict[str, list[Turn]], num_speakers: int) -> str:
    """The first piece in which as many take part, or else the first of all."""
    fitting = (name for name, turns in real.items() if len({turn.speaker for turn in turns}) == num_speakers)
    return next(fitting, next(iter(real)))


def draw_timeline(axes: Any, turns: Sequence[Turn], span_s: float, title: str) -> None:
    """One row for each speaker, in the order of their first turns."""
    speakers = list(dict.fromkeys(turn.speaker for turn in turns if turn.onset_s < span_s))
    for row, speaker in enumerate(speakers):
        spans = [(turn.onset_s, turn.duration_s) for turn in turns if turn.speaker == speaker]
        axes.broken_barh(spans, (row - 0.4, 0.8), color=COLOURS[row % len(COLOURS)])
    axes.set(xlim=(0, span_s), ylim=(len(speakers) - 0.4, -0.6), yticks=[])
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_distribution(axes: Any, values: dict[str, np.ndarray], title: str) -> None:
    """Cumulative distributions of both, and their distance in the title."""
    from scipy.stats import ks_2samp

    for (label, numbers), colour in zip(values.items(), (REAL, SIMULATED), strict=True):
        axes.plot(np.sort(numbers), np.linspace(0, 1, len(numbers)), color=colour, label=label, linewidth=1.8)
    distance = ks_2samp(*values.values()).statistic
    print(
        f"{title}: {' and '.join(str(len(numbers)) for numbers in values.values())} values, KS {distance:.3f}"
    )
    axes.set_title(f"{title} (KS {distance:.2f})", fontsize=10, loc="left")
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    sys.exit(main())
