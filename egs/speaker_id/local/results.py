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
from study import read_study

from sdpn.cli.script import script
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

#: What a result of a run holds, among others.
_KEYS = {
    "rung",
    "fold",
    "rate",
    "steps",
    "test_s",
    "encoder_parameters",
    "curve",
    "truth",
    "found",
    *_FIGURES,
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


def read_rungs(runs: Path, study: dict[str, Any]) -> dict[str, Rung]:
    """The rungs in the order of their names, with the folds that are done.

    Raises:
        InputError: there is no result, or one is malformed or of another study.
    """
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(runs.glob("*.fold*.json")):
        result = read_json(file, "result of a run")
        if not result.keys() >= _KEYS.union(_FIGURES) or result["rung"] not in study["rungs"]:
            raise InputError("is no result of a run of this study", path=file)
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
    if interval.low > 0:
        holds = "holds here"
    elif interval.high < 0:
        holds = "is the other way round here"
    else:
        holds = "cannot be told from none here"
    published = f"published {100 * (after - before):+.1f}"
    return f"{what[0].upper()}{what[1:]} ({published}) {holds}: {_points(comparison)} points."


def report(rungs: dict[str, Rung], conf: Path, command: str, study: dict[str, Any]) -> str:
    """The text of RESULTS.md."""
    base_of = bases(conf, list(rungs))
    lines = ["# Results of the ladder", "", _introduction(rungs, command, study), ""]
    lines += ["| rung | on | accuracy | precision | recall | F1 | step |", "|:--|:--|--:|--:|--:|--:|--:|"]
    verdicts = []
    for name, rung in rungs.items():
        base = base_of[name]
        step = ""
        if base in rungs and (comparison := compare(rungs[base], rung)) is not None:
            step = _points(comparison)
            verdicts.append(verdict(name, comparison))
        cells = [f"{100 * rung.mean(key):.1f} ± {100 * rung.deviation(key):.1f}" for key in _FIGURES]
        on = "" if base is None else base.split("_")[0]
        lines.append(f"| {name} | {on} | {' | '.join(cells)} | {step} |".replace(" ± nan", ""))
    names = list(rungs)
    ends = compare(rungs[names[0]], rungs[names[-1]])
    if ends is not None and len(names) > 1:
        lines += ["", f"From the first rung to the last: {_points(ends)} points."]
    lines += [
        "",
        "## Cost",
        "",
        "| rung | parameters | ms a step | steps | test, ms an utterance | learning rate |",
    ]
    lines[-1] += " accuracy |"
    lines.append("|:--|--:|--:|--:|--:|--:|--:|")
    for name, rung in rungs.items():
        runs = list(rung.by_fold.values())
        test_ms = float(np.median([1000 * run["test_s"] / len(run["truth"]) for run in runs]))
        lines.append(
            f"| {name} | {runs[0]['encoder_parameters']:,} | {1000 * study['rungs'][name]['step_s']:.1f} | "
            f"{runs[0]['steps']:,} | {test_ms:.1f} | {runs[0]['rate']:g} | "
            f"{100 * rung.mean('accuracy'):.1f} |"
        )
    lines += ["", *_edges(rungs, study["settings"]["rates"])]
    lines += ["", "![Share of wrong training segments over the steps of each rung](curves.png)"]
    lines += ["", "## The published steps", "", *[f"- {line}" for line in verdicts if line]]
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


def _introduction(rungs: dict[str, Rung], command: str, study: dict[str, Any]) -> str:
    """What was done, and where."""
    settings = study["settings"]
    some = next(iter(rungs.values()))
    speakers = {name for run in some.by_fold.values() for name in run["truth"]}
    tested = sum(len(run["truth"]) for run in some.by_fold.values())
    rates = ", ".join(f"{rate:g}" for rate in settings["rates"])
    chosen = (
        f"and every rung the best of the learning rates {rates}, after {settings['tune_seconds']:g} s each, "
        "on utterances that no fold tests"
        if len(settings["rates"]) > 1
        else f"and the learning rate is {rates}"
    )
    done = sorted({fold for rung in rungs.values() for fold in rung.by_fold})
    missing = [name for name, rung in rungs.items() if len(rung.by_fold) < settings["folds"]]
    unfinished = f" **Unfinished**: {', '.join(missing)} lack folds." if missing else ""
    return (
        f"Written by `local/results.py` from the results of `{command}`, not by hand; runs of commit "
        f"{study['commit']} on {study['machine']}, one thread. {len(speakers)} speakers, {tested} tested "
        f"utterances in {len(done)} folds (a run's seed is the number of its fold; the split has 0)."
        f"{unfinished} Every run has {settings['seconds']:g} s of CPU time for its training steps, {chosen}. "
        "Figures in %, those of the last step: mean and standard deviation over folds. *Step* is the "
        "difference in accuracy to the rung that it builds on, with a paired 95 % interval (bootstrap over "
        "speakers)."
    )


def _points(comparison: PairedComparison) -> str:
    """A difference in percentage points, with its interval."""
    low, high = comparison.interval.low, comparison.interval.high
    return f"{100 * comparison.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _edges(rungs: dict[str, Rung], rates: Sequence[float]) -> list[str]:
    """A sentence on learning rates that might be better outside the list."""
    if len(rates) < 2:
        return []
    edges = {
        edge: [name for name, rung in rungs.items() if next(iter(rung.by_fold.values()))["rate"] == edge]
        for edge in (min(rates), max(rates))
    }
    return [
        f"{edge:g} is the {'least' if edge == min(rates) else 'largest'} rate of the list: a better one may "
        f"lie beyond it for {', '.join(names)}."
        for edge, names in edges.items()
        if names
    ]


def draw_curves(rungs: dict[str, Rung], path: Path) -> None:
    """Wrong training segments over the share of the steps, a line for each rung."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(rungs)))
    grid = np.linspace(0.05, 1.0, 40)
    for colour, (name, rung) in zip(colours, rungs.items(), strict=True):
        curves = []
        for run in rung.by_fold.values():
            steps, errors = np.array(run["curve"]).T
            curves.append(np.interp(grid, steps / run["steps"], errors))
        axes.plot(grid, 100 * np.mean(curves, axis=0), color=colour, label=name)
    axes.set(xlabel="share of the steps", ylabel="wrong training segments, %", xlim=(0, 1), ylim=(0, 100))
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


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


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--study", type=Path, required=True, metavar="DIR", help="OUT of ladder.py")
    parser.add_argument("--conf", type=Path, required=True, metavar="DIR", help="the rungs' YAML files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for RESULTS.md")
    parser.add_argument("--command", default="egs/speaker_id/run.sh", help="to name in the text")
    args = parser.parse_args(argv)
    study = read_study(args.study)
    rungs = read_rungs(args.study / "runs", study)
    args.out.mkdir(parents=True, exist_ok=True)
    draw_confusions(max(rungs.values(), key=lambda rung: rung.mean("accuracy")), args.out / "confusions.png")
    draw_curves(rungs, args.out / "curves.png")
    atomic_write_text(args.out / "RESULTS.md", report(rungs, args.conf, args.command, study))


if __name__ == "__main__":
    sys.exit(main())
