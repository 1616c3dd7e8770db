"""``sdpn drift``: how the prototypes of a run moved, from its checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from torch import Tensor

    from sdpn.tracking.drift_curves import DriftCurves
    from sdpn.tracking.drift_verdict import DriftVerdict
    from sdpn.tracking.prototype_history import History

DESCRIPTION = """\
Compute drift curves of the prototypes from the saved checkpoints of a run, list the prototypes that have
moved and those that are dead, and report whether they are being trained.

EXP is a folder written by sdpn train, or a 3D-Speaker training folder whose checkpoint*.pth files (in EXP or
EXP/models) contain 'prototypes'. A single checkpoint works too, with less information. No code in the files
is executed.

Drift is 1 - cosine: 0 means unchanged, 1 a right angle. A prototype has moved if it has turned by more than
--moved-deg since the first checkpoint (for sdpn runs: since step 0, which every checkpoint stores). It is
dead if the teacher assigns it less than a tenth of the uniform share 1/K; only sdpn checkpoints store these
assignments. How to read the curves: docs/drift.md."""

EXAMPLE = """\
  sdpn drift exp/mini
  sdpn drift exp/mini --plot drift.png --json exp/mini/results/drift.trained.json
  sdpn drift 3D-Speaker/egs/voxceleb/sv-sdpn/exp/sdpn --check && echo "the prototypes are being trained\""""

#: Maximum number of prototypes listed by index; the JSON document has all of them.
_MOST_LISTED = 20

OUTPUTS: dict[str, OutputKind] = {"plot": "file", "csv": "file"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn drift``."""
    parser.add_argument("experiment", type=Path, metavar="EXP", help="training folder, or one checkpoint")
    parser.add_argument(
        "--moved-deg", type=_angle_deg, default=0.2, metavar="DEG",
        help="angle above which a prototype counts as moved (default: 0.2 degrees; rounding to bfloat16 "
             "turns a prototype by 0.1, a thousand training steps by tens)",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="exit with 1 unless the prototypes are being trained: at least half have moved, and the last "
             "two checkpoints are not bitwise identical",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument("--plot", type=Path, metavar="FILE", help="plot the curves to FILE (.png, .svg or .pdf)")
    out.add_argument(
        "--csv", type=Path, metavar="FILE", help="write one line per checkpoint and prototype to FILE"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read the checkpoints, judge the drift, print the result and return the figures."""
    if args.plot is not None and args.plot.suffix not in (".png", ".svg", ".pdf"):
        raise InputError("is not a supported image format", path=args.plot, hint="use .png, .svg or .pdf")

    from sdpn.tracking.drift import prototype_drift

    found = prototype_drift(args.experiment, moved_deg=args.moved_deg)
    history, curves, verdict = found.history, found.curves, found.verdict
    if args.csv is not None:
        found.write_csv(args.csv)
    if args.plot is not None:
        from sdpn.tracking.drift_plot import plot_drift

        plot_drift(args.plot, curves, unit=history.unit, title=verdict.sentence)
    num, dimension = history.snapshots[-1].prototypes_KE.shape
    for note in (*history.skipped, *history.notes):
        print(f"note: {note}")
    print(f"{num:,} prototypes of {dimension} dimensions, from checkpoints of {history.source}\n")
    print(_table(history, curves), end="\n\n")
    if len(curves.steps) > 1:
        _print_movement(curves, verdict)
    if history.usage is not None:
        print(f"dead:      {_listed(history.usage.is_dead_K.nonzero().flatten())}")
    print("\n" + "\n".join((verdict.sentence, *verdict.remarks, found.usage_sentence)))
    return found.to_dict()


def exit_code(args: argparse.Namespace, results: dict[str, Any]) -> int:
    """1 where ``--check`` asks for prototypes that are being trained and they are not."""
    return int(args.check and not results["is_trained"])


def _angle_deg(text: str) -> float:
    value = float(text)
    if not 0 <= value < 180:
        raise argparse.ArgumentTypeError(f"{text!r} is not an angle from 0 to 180 degrees")
    return value


def _table(history: History, curves: DriftCurves) -> str:
    """A line for each checkpoint."""
    from sdpn.cli.table import format_table

    names = {
        "drift_initial_mean": "drift to first: mean",
        "drift_initial_max": "max",
        "drift_previous_mean": "to previous: mean",
        "drift_previous_max": "max",
        "nearest_cosine_mean": "nearest cosine",
        "effective_rank": "effective rank",
    }
    scalars = curves.scalars()
    rows = [
        [
            str(step),
            *(_shown(name, scalars[name].get(step)) for name in names),
        ]
        for step in curves.steps
    ]
    return format_table([history.unit, *names.values()], rows)


def _shown(name: str, value: float | None) -> str:
    """A value of a curve: drifts span many orders of magnitude, ranks do not."""
    if value is None:
        return "–"
    if name == "effective_rank":
        return f"{value:.1f}"
    return f"{value:#.3g}" if value else "0"


def _print_movement(curves: DriftCurves, verdict: DriftVerdict) -> None:
    from sdpn.tracking.drift_curves import degrees

    has_moved_K = verdict.has_moved_K
    turned_K = degrees(curves.since_first_NK[-1])
    furthest_K = turned_K.argsort(descending=True)
    furthest = ", ".join(f"{index} ({turned_K[index]:.1f}°)" for index in furthest_K[:5].tolist())
    print(f"moved:     {int(has_moved_K.sum()):,} of {len(has_moved_K):,}; furthest {furthest}")
    print(f"not moved: {_listed((~has_moved_K).nonzero().flatten())}")


def _listed(indices: Tensor) -> str:
    """Indices of prototypes, counted from 0: the first few, and the number of the rest."""
    shown = ", ".join(map(str, indices[:_MOST_LISTED].tolist()))
    more = len(indices) - _MOST_LISTED
    return (shown or "none") + (f", … and {more:,} more" if more > 0 else "")
