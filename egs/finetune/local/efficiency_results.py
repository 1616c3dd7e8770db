#!/usr/bin/env python3
"""Table and picture of the runs of efficiency.py: OUT/RESULTS.md, OUT/efficiency.svg, OUT/figures.json.

The interval of a difference to the untouched model is a bootstrap of the speakers, the same resamples for
both; where a cell has several seeds, it is that of the mean of their error rates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.metrics.bootstrap import percentile_interval
from sdpn.metrics.eer_interval import resampled_eers

_UNTOUCHED = "untouched"


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder that efficiency.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap; default %(default)s")
    args = parser.parse_args(argv)
    report(args.runs, args.out, args.resamples)


def report(runs: Path, out: Path, resamples: int) -> None:
    """Write table, picture and figures."""
    found = [read_json(file, "run of efficiency.py") | {"file": file} for file in sorted(runs.glob("*.json"))]
    base = [run for run in found if run["method"] == _UNTOUCHED]
    if not base:
        raise InputError("has no run of the untouched model", path=runs, hint="run with --speakers 0,...")
    cells: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in found:
        if run["method"] != _UNTOUCHED:
            cells.setdefault((run["method"], run["num_speakers"]), []).append(run)
    figures = []
    for corpus, eer in base[0]["eer"].items():
        before = _resampled(base[0]["file"], corpus, resamples)
        figures.append({"list": corpus, "method": _UNTOUCHED, "speakers": 0, "seeds": [eer], "eer": eer})
        for (method, speakers), of_cell in sorted(cells.items()):
            seeds = [run["eer"][corpus] for run in of_cell]
            after = np.mean([_resampled(run["file"], corpus, resamples) for run in of_cell], axis=0)
            interval = percentile_interval(after - before, 0.95)
            figures.append(
                {
                    "list": corpus,
                    "method": method,
                    "speakers": speakers,
                    "seeds": seeds,
                    "eer": float(np.mean(seeds)),
                    "difference": float(np.mean(seeds)) - eer,
                    "low": interval.low,
                    "high": interval.high,
                    "relative": float(np.mean(seeds)) / eer - 1,
                    "trained_parameters": of_cell[0]["trained_parameters"],
                    "encoder_parameters": of_cell[0]["encoder_parameters"],
                    "steps": of_cell[0]["steps"],
                    "minutes": float(np.mean([run["seconds"] for run in of_cell])) / 60,
                    "cpu_minutes": float(np.mean([run["cpu_seconds"] for run in of_cell])) / 60,
                }
            )
    out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(out / "figures.json", json.dumps(figures, indent=2) + "\n")
    atomic_write_text(out / "RESULTS.md", "\n".join(_table(figures)) + "\n")
    _draw(figures, out / "efficiency.svg")


def _resampled(document: Path, corpus: str, resamples: int) -> np.ndarray:
    with np.load(document.with_suffix(".npz")) as stored:
        names = ("scores", "is_target", "first", "second")
        return resampled_eers(*(stored[f"{corpus}.{name}"] for name in names), resamples=resamples)


def _table(figures: list[dict[str, Any]]) -> list[str]:
    lines = [
        "# Results of the study of labels",
        "",
        "EER against the number of labelled speakers: mean of the seeds (their range), and the difference",
        "to the untouched model, with a 95 % interval over speakers. Trained: share of the encoder.",
        "",
        "| list | speakers | method | trained | EER % | seeds | difference | relative | steps | CPU min |",
        "|:--|--:|:--|--:|--:|:--|:--|--:|--:|--:|",
    ]
    for one in sorted(figures, key=lambda one: (one["list"], one["speakers"], one["method"])):
        eer = f"{100 * one['eer']:.2f}"
        if one["method"] == _UNTOUCHED:
            lines.append(f"| {one['list']} | 0 | {_UNTOUCHED} | – | {eer} | – | – | – | – | – |")
            continue
        seeds = one["seeds"]
        spread = f"{len(seeds)} ({100 * min(seeds):.2f} to {100 * max(seeds):.2f})" if len(seeds) > 1 else "1"
        lines.append(
            f"| {one['list']} | {one['speakers']} | {one['method']} | "
            f"{100 * one['trained_parameters'] / one['encoder_parameters']:.1f} % | {eer} | {spread} | "
            f"{100 * one['difference']:+.2f} ({100 * one['low']:+.2f} to {100 * one['high']:+.2f}) | "
            f"{100 * one['relative']:+.0f} % | {one['steps']} | {one['cpu_minutes']:.1f} |"
        )
    return lines


def _draw(figures: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "finetune"  # the same figures give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"  # letters as text, not as outlines
    from matplotlib import pyplot

    lists = list(dict.fromkeys(one["list"] for one in figures))
    methods = sorted({one["method"] for one in figures} - {_UNTOUCHED})
    figure, axes = pyplot.subplots(1, len(lists), figsize=(4.5 * len(lists), 3.6), squeeze=False)
    for axis, corpus in zip(axes[0], lists, strict=True):
        own = [one for one in figures if one["list"] == corpus]
        base = next(one["eer"] for one in own if one["method"] == _UNTOUCHED)
        axis.axhline(100 * base, color="black", linestyle=":", label="without labels")
        for method in methods:
            points = sorted(
                (one["speakers"], one["eer"], one["seeds"]) for one in own if one["method"] == method
            )
            x = [speakers for speakers, _, _ in points]
            low, high = ([100 * bound(seeds) for _, _, seeds in points] for bound in (min, max))
            (line,) = axis.plot(x, [100 * eer for _, eer, _ in points], marker="o", label=method)
            axis.fill_between(x, low, high, alpha=0.2, color=line.get_color())
        numbers = sorted({one["speakers"] for one in own} - {0})
        axis.set_xscale("log")
        axis.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axis.minorticks_off()
        axis.set_xlabel("labelled speakers")
        axis.set_ylabel("EER %")
        axis.set_title(corpus)
    axes[0][-1].legend()
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
