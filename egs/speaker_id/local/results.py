#!/usr/bin/env python3
"""Write RESULTS.md and the confusion picture from the runs of ladder.py.

Rungs are compared on the folds that both have. An interval is a paired bootstrap over speakers.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.json_text import read_json
from sdpn.io.yaml_text import read_yaml
from sdpn.metrics.bootstrap import PairedComparison, compare_paired

_FIGURES = ("accuracy", "precision", "recall", "f1")

#: What the exercise reports of its step to a rung; accuracy on its validation set (docs/speaker_id.md).
_PUBLISHED = {
    "02_transformer_2": ("two layers instead of one", 0.672, 0.714),
    "03_one_head": ("one head instead of two", 0.714, 0.727),
    "04_four_heads": ("four heads instead of two", 0.714, 0.726),
    "05_transformer_3": ("three layers instead of two", 0.714, 0.745),
    "06_conformer_2": ("two conformer layers instead of three of a transformer", 0.745, 0.749),
    "07_conformer_3": ("three conformer layers instead of two", 0.749, 0.764),
    "08_conformer_4": ("four conformer layers instead of three", 0.764, 0.774),
    "09_linear": ("a linear classifier instead of two layers", 0.774, 0.855),
    "10_self_attention": ("simplified self-attention pooling instead of the mean", 0.855, 0.859),
    "11_self_attention_64": ("its scores through a tanh layer of 64", 0.859, 0.862),
    "12_self_attention_128": ("a tanh layer of 128", 0.862, 0.863),
}

#: Confusions that the table shows.
_MOST_CONFUSED = 8


class Rung:
    """The runs of a rung, by fold."""

    def __init__(self, name: str, runs: Sequence[dict[str, Any]]) -> None:
        self.name = name
        self.by_fold = {run["fold"]: run for run in runs}

    def mean(self, figure: str) -> float:
        """Over folds."""
        return float(np.mean([run[figure] for run in self.by_fold.values()]))

    def deviation(self, figure: str) -> float:
        """Standard deviation over folds; NaN for one."""
        values = [run[figure] for run in self.by_fold.values()]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def errors(self, folds: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Of each speaker, the wrong and all utterances in these folds."""
        counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for fold in folds:
            run = self.by_fold[fold]
            for truth, found in zip(run["truth"], run["found"], strict=True):
                counts[truth][0] += truth != found
                counts[truth][1] += 1
        return {speaker: (wrong, total) for speaker, (wrong, total) in counts.items()}


def compare(before: Rung, after: Rung) -> PairedComparison | None:
    """Accuracy of ``after`` minus that of ``before`` on the folds of both; None if there are none."""
    folds = sorted(before.by_fold.keys() & after.by_fold.keys())
    first, second = before.errors(folds), after.errors(folds)
    if not folds:
        return None
    if {name: total for name, (_, total) in first.items()} != {
        name: total for name, (_, total) in second.items()
    }:
        raise InputError(f"{before.name} and {after.name} were tested on different utterances")
    speakers = sorted(first)
    wrong = [np.array([counts[name][0] for name in speakers], float) for counts in (first, second)]
    totals = np.array([first[name][1] for name in speakers], float)
    return compare_paired(wrong[0], wrong[1], totals)


def read_rungs(runs: Path) -> dict[str, Rung]:
    """The rungs in the order of their names, with the folds that are done.

    Raises:
        InputError: there is no result, or one is malformed.
    """
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(runs.glob("*.fold*.json")):
        result = read_json(file, "result of a run")
        found[result["rung"]].append(result)
    if not found:
        raise InputError("contains no results of folds", path=runs, hint="run local/ladder.py first")
    return {name: Rung(name, found[name]) for name in sorted(found)}


def bases(conf: Path, names: Sequence[str]) -> dict[str, str | None]:
    """The rung that each one builds on, by its YAML file."""
    return {
        name: None if (base := read_yaml(conf / f"{name}.yaml").get("base")) is None else Path(base).stem
        for name in names
    }


def verdict(name: str, comparison: PairedComparison) -> str | None:
    """One sentence on a published step, or None where nothing was published."""
    if name not in _PUBLISHED:
        return None
    what, before, after = _PUBLISHED[name]
    interval = comparison.interval
    gain = (
        f"{100 * comparison.difference:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    )
    if interval.low > 0:
        holds = "holds here"
    elif interval.high < 0:
        holds = "is the other way round here"
    else:
        holds = "cannot be told from none here"
    return f"{what[0].upper()}{what[1:]} (published {100 * (after - before):+.1f}) {holds}: {gain}."


def report(rungs: dict[str, Rung], conf: Path, command: str, tuned: dict[str, int]) -> str:
    """The text of RESULTS.md."""
    base_of = bases(conf, list(rungs))
    some = next(iter(rungs.values()))
    count = sum(len(run["truth"]) for run in some.by_fold.values())
    speakers = {name for run in some.by_fold.values() for name in run["truth"]}
    lines = [
        "# Results of the ladder",
        "",
        f"Written by `local/results.py` from the results of `{command}`, not by hand. {len(speakers)} "
        f"speakers, {count} tested utterances in {len(some.by_fold)} folds. Every run has "
        f"{some.mean('seconds'):.0f} s of "
        "CPU time for its training steps, and every rung the best of "
        f"{max(tuned.values(), default=1)} learning rates, chosen on another split of the same utterances. "
        "Figures in %, those of the last step: mean and standard deviation over folds. *Step* is the "
        "difference in accuracy to the rung that it builds on, with a paired 95 % interval (bootstrap over "
        "speakers).",
        "",
        "| rung | on | accuracy | precision | recall | F1 | step | folds |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|",
    ]
    verdicts = []
    for name, rung in rungs.items():
        base = base_of[name]
        step = ""
        if base in rungs and (comparison := compare(rungs[base], rung)) is not None:
            low, high = comparison.interval.low, comparison.interval.high
            step = f"{100 * comparison.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            verdicts.append(verdict(name, comparison))
        cells = [f"{100 * rung.mean(key):.1f} ± {100 * rung.deviation(key):.1f}" for key in _FIGURES]
        on = "" if base is None else base.split("_")[0]
        row = f"| {name} | {on} | {' | '.join(cells)} | {step} | {len(rung.by_fold)} |"
        lines.append(row.replace(" ± nan", ""))
    lines += ["", "## Cost", "", "| rung | parameters | ms a step | steps | learning rate | accuracy, % |"]
    lines.append("|:--|--:|--:|--:|--:|--:|")
    for name, rung in rungs.items():
        rates = ", ".join(sorted({f"{run['rate']:g}" for run in rung.by_fold.values()}))
        lines.append(
            f"| {name} | {rung.mean('encoder_parameters'):,.0f} | {1000 * rung.mean('step_s'):.1f} | "
            f"{rung.mean('steps'):,.0f} | {rates} | {100 * rung.mean('accuracy'):.1f} |"
        )
    lines += ["", "## The published steps", "", *[f"- {line}" for line in verdicts if line]]
    names = list(rungs)
    ends = compare(rungs[names[0]], rungs[names[-1]])
    if ends is not None and len(names) > 1:
        low, high = ends.interval.low, ends.interval.high
        lines += [
            "",
            f"From the first rung to the last: {100 * ends.difference:+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}].",
        ]
    best = max(rungs.values(), key=lambda rung: rung.mean("accuracy"))
    alternative = "Share of the utterances of each speaker, and of each corpus, taken for another"
    lines += ["", f"## Confusions of {best.name}", "", f"![{alternative}](confusions.png)"]
    pairs = Counter(
        (truth, found)
        for run in best.by_fold.values()
        for truth, found in zip(run["truth"], run["found"], strict=True)
        if truth != found
    )
    lines += ["", "The most frequent ones:", "", "| speaker | taken for | utterances |", "|:--|:--|--:|"]
    lines += [f"| {a} | {b} | {number} |" for (a, b), number in pairs.most_common(_MOST_CONFUSED)]
    return "\n".join(lines) + "\n"


def draw_confusions(rung: Rung, path: Path) -> None:
    """Two pictures: speakers by speakers, sorted by corpus, and the same by corpus."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    truth = [name for run in rung.by_fold.values() for name in run["truth"]]
    found = [name for run in rung.by_fold.values() for name in run["found"]]
    names = sorted(set(truth) | set(found))
    place = {name: index for index, name in enumerate(names)}
    counts_KK = np.zeros((len(names), len(names)))
    np.add.at(counts_KK, ([place[name] for name in truth], [place[name] for name in found]), 1)
    shares_KK = counts_KK / counts_KK.sum(1, keepdims=True).clip(min=1)
    corpus_of = [re.split(r"[-_]", name)[0] for name in names]
    corpora = sorted(set(corpus_of))
    member_KC = np.array([[one == corpus for corpus in corpora] for one in corpus_of], float)
    by_corpus = member_KC.T @ counts_KK @ member_KC
    by_corpus /= by_corpus.sum(1, keepdims=True).clip(min=1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 5), width_ratios=(1.3, 1))
    image = left.imshow(shares_KK**0.5, cmap="magma", interpolation="nearest")
    left.set(title=f"{rung.name}: speakers", xlabel="found", ylabel="true")
    figure.colorbar(image, ax=left, label="root of the share")
    right.imshow(by_corpus, cmap="magma", vmin=0, vmax=1)
    for row, column in np.ndindex(by_corpus.shape):
        shade = "black" if by_corpus[row, column] > 0.5 else "white"
        right.text(column, row, f"{100 * by_corpus[row, column]:.1f}", ha="center", va="center", color=shade)
    right.set(title="by corpus, % of the utterances", xlabel="found", ylabel="true")
    right.set_xticks(range(len(corpora)), corpora, rotation=30, ha="right")
    right.set_yticks(range(len(corpora)), corpora)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--runs", type=Path, required=True, metavar="DIR", help="of ladder.py: OUT/runs")
    parser.add_argument("--conf", type=Path, required=True, metavar="DIR", help="the rungs' YAML files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for RESULTS.md")
    parser.add_argument("--command", default="egs/speaker_id/run.sh", help="to name in the text")
    args = parser.parse_args(argv)
    try:
        rungs = read_rungs(args.runs)
        tuned = Counter(file.name.split(".")[0] for file in args.runs.glob("*.tune.*.json"))
        args.out.mkdir(parents=True, exist_ok=True)
        best = max(rungs.values(), key=lambda rung: rung.mean("accuracy"))
        draw_confusions(best, args.out / "confusions.png")
        atomic_write_text(args.out / "RESULTS.md", report(rungs, args.conf, args.command, dict(tuned)))
    except InputError as error:
        print(f"results.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
