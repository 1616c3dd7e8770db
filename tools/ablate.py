"""Variants of a run at equal training time, each with several seeds, as one table.

    python tools/ablate.py --grid egs/mini/conf/ablations.yaml --data HELD_OUT/train --valid HELD_OUT/valid \\
        --trials HELD_OUT/valid/trials --out exp/ablations [--jobs 2] [section.key=value ...]

A variant of the grid may have ``settings``, ``seeds``, and ``replaces``: sections, such as encoder, whose
common settings it does not take.

Training time is equalised by measuring the cost of a step of each variant relative to the first one,
alternating on one batch; a variant whose steps cost more (or less) by over --tolerance gets fewer (or more)
steps. The result therefore does not depend on the load of the machine during training. Finished runs are not
repeated, interrupted ones are resumed. Costs are measured first, when the machine should be idle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from sdpn.cli.script import script
from sdpn.cli.table import format_markdown
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text

#: Columns of the table: heading, tag of the dashboard, factor, decimals.
_COLUMNS = (
    ("EER %", "evaluation/eer", 100.0, 2),
    ("cross-entropy", "loss/ce", 1.0, 2),
    ("prototypes in use", "prototypes/usage_perplexity", 1.0, 0),
    ("dead", "prototypes/dead", 1.0, 0),
    ("drift", "prototypes/drift_initial_mean", 1.0, 3),
    ("rank of embeddings", "embedding/effective_rank", 1.0, 0),
)


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        name: as printed.
        shared: ``section.key=value``, what it has in common with the others of the grid.
        own: its own, which take precedence.
        seeds: one run for each.
    """

    name: str
    shared: tuple[str, ...]
    own: tuple[str, ...]
    seeds: tuple[int, ...]

    def settings(self, everybody: Sequence[str]) -> list[str]:
        """Its settings, with those of all runs."""
        return [*self.shared, *everybody, *self.own]


@dataclass(frozen=True)
class Grid:
    """What is compared: the first variant is the base; ``steps`` are its optimizer steps."""

    steps: int
    variants: tuple[Variant, ...]


def read_grid(path: Path) -> Grid:
    """Read a grid.

    Raises:
        InputError: it is not YAML, or has other keys than a grid has.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read as YAML ({error})", path=path) from None
    if not isinstance(document, dict) or set(document) - {"steps", "seeds", "common", "variants"}:
        raise InputError("expected the keys steps, seeds, common and variants", path=path)
    seeds, common = tuple(document.get("seeds", [0])), document.get("common", ())
    variants = []
    for name, value in (document.get("variants") or {}).items():
        if set(value) - {"settings", "seeds", "replaces"}:
            raise InputError(f"variant {name!r} may have settings, seeds and replaces only", path=path)
        # another encoder does not have the settings of the common one
        replaced = value.get("replaces", ())
        shared = tuple(setting for setting in common if setting.partition(".")[0] not in replaced)
        own = tuple(value.get("settings", ()))
        variants.append(Variant(name, shared, own, tuple(value.get("seeds", seeds))))
    if not variants or not isinstance(document.get("steps"), int):
        raise InputError("needs steps and at least one variant", path=path)
    return Grid(document["steps"], tuple(variants))


def relative_costs(grid: Grid, extra: Sequence[str], *, rounds: int) -> dict[str, float]:
    """Time of a step of each variant over that of the first one; the fastest of ``rounds`` turns counts."""
    import torch

    from sdpn.config import load_config
    from sdpn.data.crops import CropBatch
    from sdpn.training.build import build
    from sdpn.training.config import RunConfig
    from sdpn.training.distributed import Processes
    from sdpn.training.step import Update

    updates = {}
    for variant in grid.variants:
        run = load_config(RunConfig, None, variant.settings(extra))
        network = build(run).train()
        crops, size = run.crops, run.training.batch_size
        batch = CropBatch(
            torch.randn(crops.num_global, size, crops.global_samples) * 0.05,
            torch.randn(crops.num_local, size, crops.local_samples) * 0.05,
            torch.arange(size),
        )
        updates[variant.name] = (Update(run, network, Processes(0, 1, torch.device("cpu"))), batch)
    times: dict[str, list[float]] = {name: [] for name in updates}
    for turn in tqdm(range(rounds + 1), desc="costs", unit="turn", file=sys.stderr):
        for name, (update, batch) in updates.items():
            started = time.perf_counter()
            update(batch, lr=1e-4, momentum=0.99)
            if turn:  # the first turn warms up
                times[name].append(time.perf_counter() - started)
    base = min(times[grid.variants[0].name])
    return {name: min(values) / base for name, values in times.items()}


def run_one(args: argparse.Namespace, variant: Variant, seed: int, steps: int) -> None:
    """Train one run and keep its final figures, unless it has been done."""
    out: Path = args.out / _folder(variant, seed)
    if (out / "ablation.json").exists():
        return
    command = [sys.executable, "-m", "sdpn.cli.main", "train", "--quiet", "--out", str(out)]
    for directory in args.data:
        command += ["--data", str(directory)]
    watched = [
        f"evaluation.data={args.valid}",
        f"evaluation.trials={args.trials}",
        f"evaluation.every={steps}",
    ]
    chosen = [f"training.seed={seed}", f"training.steps={steps}"]
    done = subprocess.run(
        [*command, *variant.settings([*watched, *args.settings]), *chosen],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"{variant.name!r}, seed {seed}, failed: {done.stderr.strip()[-500:]}", path=out)
    from sdpn.report.events import read_event_log

    scalars = read_event_log(out / "tensorboard").scalars
    final = {tag: values[max(values)] for tag, values in scalars.items()}
    for name, data in args.also:
        final[f"evaluation/eer/{name}"] = _eer_on(data, args.trials, out / "model")
    atomic_write_text(out / "ablation.json", json.dumps({"steps": steps, "tags": final}, indent=2) + "\n")


def _eer_on(data: Path, trials: Path, model: Path) -> float:
    """EER of the cosine, on recordings of the trials' utterances."""
    from sdpn.interop.load import load_model
    from sdpn.io.audio import RATE_HZ
    from sdpn.io.kaldi import read_data_dir
    from sdpn.io.trials import read_trials
    from sdpn.metrics.verification import equal_error_rate, error_rates
    from sdpn.verification.similarity import cosine
    from sdpn.verification.trial_scores import score_trials

    listed = read_trials(trials)
    speech = {utterance.id: utterance for utterance in read_data_dir(data)}
    missing = [name for name in listed.ids if name not in speech]
    if missing:
        raise InputError(f"has no utterance {missing[0]!r}, which is in {trials}", path=data)
    embeddings = load_model(model).embed([speech[name].read() for name in listed.ids], RATE_HZ)
    scores = score_trials(cosine(embeddings), listed.first, listed.second)
    return equal_error_rate(error_rates(scores, listed.is_target))[0]


def table(grid: Grid, out: Path, costs: dict[str, float], also: Sequence[str] = ()) -> str:
    """The finished runs as a Markdown table: mean over seeds, ± standard deviation of several."""
    columns = [
        _COLUMNS[0],
        *((f"EER %, {name}", f"evaluation/eer/{name}", 100.0, 2) for name in also),
        *_COLUMNS[1:],
    ]
    rows = []
    for variant in grid.variants:
        runs: list[dict[str, Any]] = [
            json.loads(file.read_text())
            for seed in variant.seeds
            if (file := out / _folder(variant, seed) / "ablation.json").exists()
        ]
        if not runs:
            continue
        row = [variant.name, f"{costs.get(variant.name, 1.0):.2f}", str(runs[0]["steps"])]
        for _, tag, factor, decimals in columns:
            values = [run["tags"][tag] * factor for run in runs if tag in run["tags"]]
            if not values:
                row.append("–")
                continue
            spread = f" ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else ""
            row.append(f"{statistics.mean(values):.{decimals}f}{spread}")
        rows.append([*row, str(len(runs))])
    header = ["variant", "cost of a step", "steps", *(heading for heading, *_ in columns), "seeds"]
    return format_markdown(header, rows)


def _folder(variant: Variant, seed: int) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in variant.name)
    return f"{name}-s{seed}"


@script
def main() -> None:
    """Measure costs, train what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", type=Path, required=True, metavar="YAML", help="variants to compare")
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--valid", type=Path, required=True, metavar="DIR", help="speech of the trials")
    parser.add_argument("--trials", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="EXP")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument(
        "--tolerance", type=float, default=0.1, help="costs this near to 1 count as 1 (default: 0.1)"
    )
    parser.add_argument(
        "--also",
        type=_named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="other recordings of the utterances of --trials, to be scored, too; may be repeated",
    )
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings of all runs")
    args = parser.parse_args()
    grid = read_grid(args.grid)
    file = args.out / "costs.json"
    if not file.exists() and not args.table:
        costs = relative_costs(grid, args.settings, rounds=6)
        atomic_write_text(file, json.dumps(costs, indent=2) + "\n")
    costs = json.loads(file.read_text()) if file.exists() else {}
    if not args.table:
        _run_all(args, grid, costs)
    print(table(grid, args.out, costs, [name for name, _ in args.also]))


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, Path(folder)


def _run_all(args: argparse.Namespace, grid: Grid, costs: dict[str, float]) -> None:
    def steps(variant: Variant) -> int:
        cost = costs.get(variant.name, 1.0)
        return grid.steps if abs(cost - 1) <= args.tolerance else round(grid.steps / cost)

    # seed after seed, so that an interrupted comparison has compared everything once
    seeds = sorted({seed for variant in grid.variants for seed in variant.seeds})
    jobs = [(variant, seed) for seed in seeds for variant in grid.variants if seed in variant.seeds]
    with (
        ThreadPoolExecutor(args.jobs) as pool,
        tqdm(total=len(jobs), desc="runs", unit="run", file=sys.stderr) as bar,
    ):
        for _ in pool.map(lambda job: run_one(args, job[0], job[1], steps(job[0])), jobs):
            bar.update()


if __name__ == "__main__":
    sys.exit(main())
