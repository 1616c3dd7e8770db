"""Verdict on whether the prototypes are being trained.

Shapes: N snapshots, K prototypes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from sdpn.tracking.drift_curves import DriftCurves, degrees
from sdpn.tracking.prototype_history import Usage


class DriftState(Enum):
    """Training state of the prototypes; the value is used in JSON documents."""

    TRAINED = "trained"
    FEW = "few move"
    HARDLY = "hardly move"
    STOPPED = "stopped"
    NOT_TRAINED = "not trained"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class DriftVerdict:
    """The conclusion from the curves.

    Attributes:
        state: in one word.
        sentence: in one sentence.
        remarks: further remarks, a sentence each.
        has_moved_K: which prototypes have moved since the first snapshot, bool (K,).
    """

    state: DriftState
    sentence: str
    remarks: tuple[str, ...]
    has_moved_K: Tensor


def judge_drift(curves: DriftCurves, *, unit: str, dimension: int, moved_deg: float) -> DriftVerdict:
    """Decide whether the prototypes are being trained.

    They are, if at least half of them have turned by more than ``moved_deg`` since the first snapshot and not
    all of them were bit for bit the same at the last two.

    Args:
        curves: from `sdpn.tracking.drift_curves.drift_curves`.
        unit: unit of the steps, "step" or "epoch".
        dimension: E of the prototypes.
        moved_deg: turn in degrees above which a prototype has moved.
    """
    has_moved_K = degrees(curves.since_first_NK).amax(0) > moved_deg
    state, sentence = _state(curves, int(has_moved_K.sum()), unit=unit, moved_deg=moved_deg)
    remarks: list[str] = []
    if state in (DriftState.TRAINED, DriftState.FEW):
        remarks += _remarks(curves, has_moved_K, unit=unit, dimension=dimension, moved_deg=moved_deg)
    return DriftVerdict(state, sentence, tuple(remarks), has_moved_K)


def _state(curves: DriftCurves, moved: int, *, unit: str, moved_deg: float) -> tuple[DriftState, str]:
    turned_NK = degrees(curves.since_first_NK)
    num = turned_NK.shape[1]
    first, last = curves.steps[0], curves.steps[-1]
    if len(curves.steps) == 1:
        return DriftState.UNKNOWN, (
            "A single checkpoint does not show whether the prototypes are being trained: it has their "
            "positions, but not their movement."
        )
    if bool(curves.is_same_NK.all()):
        at = f"{unit}s {first} and {last}"
        if len(curves.steps) > 2:
            at = f"all {len(curves.steps)} checkpoints from {unit} {first} to {last}"
        return DriftState.NOT_TRAINED, (
            f"The prototypes are NOT being trained: all {num:,} are bitwise identical at {at}."
        )
    if not moved:
        return DriftState.HARDLY, (
            f"The prototypes HARDLY move: since {unit} {first} none of the {num:,} has turned by more than "
            f"{moved_deg:g}° (the largest turn is {_deg(float(turned_NK.max()))}), though they are not "
            "bitwise identical."
        )
    still_from = _still_from(curves)
    if still_from < last:
        mean_deg = float(turned_NK[curves.steps.index(still_from)].mean())
        return DriftState.STOPPED, (
            f"The prototypes are NO LONGER being trained: they turned by {_deg(mean_deg)} on average from "
            f"{unit} {first} to {still_from}, and are bitwise identical from there to {unit} {last}."
        )
    if 2 * moved < num:
        return DriftState.FEW, (
            f"Most prototypes are NOT being trained: since {unit} {first} only {moved:,} of {num:,} "
            f"{_have(moved)} turned by more than {moved_deg:g}°."
        )
    mean_deg, mean_drift = float(turned_NK[-1].mean()), float(curves.since_first_NK[-1].mean())
    which = f"all {num:,}" if moved == num else f"{moved:,} of {num:,}"
    others = "" if moved == num else f"; {num - moved:,} {_have(num - moved)} not moved"
    return DriftState.TRAINED, (
        f"The prototypes are being trained: {which} have turned since {unit} {first}, by {_deg(mean_deg)} on "
        f"average (cosine drift {mean_drift:.2g}){others}."
    )


def describe_usage(usage: Usage | None) -> str:
    """A sentence on the number of dead prototypes, or on why it is unknown."""
    if usage is None:
        return "Which prototypes are dead is unknown: no checkpoint stores the teacher's assignments."
    dead, num = int(usage.is_dead_K.sum()), len(usage.share_K)
    rows = "" if usage.rows is None else f" ({usage.rows:,} rows)"
    sentence = (
        f"{dead:,} of {num:,} prototypes {'is' if dead == 1 else 'are'} dead: less than a tenth of an equal "
        f"share of the teacher's assignments, in {usage.steps:,} step{'' if usage.steps == 1 else 's'}{rows} "
        f"counted by the checkpoint of step {usage.until_step}."
    )
    if usage.is_short and dead:
        sentence += (
            " So few rows would not reach every prototype even at uniform usage: this is an upper bound."
        )
    return sentence


def _remarks(
    curves: DriftCurves, has_moved_K: Tensor, *, unit: str, dimension: int, moved_deg: float
) -> list[str]:
    remarks = []
    steps = curves.steps
    between = f"between the last two checkpoints ({unit}s {steps[-2]} and {steps[-1]})"
    stopped = int((curves.is_same_NK[-1] & has_moved_K).sum())
    if stopped:
        remarks.append(f"{stopped:,} that had moved before {_have(stopped)} not changed at all {between}.")
    elif len(steps) > 2 and not bool((degrees(curves.since_previous_NK[-1]) > moved_deg).any()):
        remarks.append(
            f"None turned by more than {moved_deg:g}° {between}: the learning rate is near its minimum, or "
            "training has converged."
        )
    # The mean cosine of K pairs of independent random directions has a standard deviation of 1 / √(K E);
    # where that is large, being near 0 is no sign of anything.
    deviation = 1 / math.sqrt(len(has_moved_K) * dimension)
    remarks += [
        f"Between {unit}s {before} and {after} they changed completely, as if reinitialised: "
        "this happens when a run is resumed without its prototypes."
        for before, after, drift_K in zip(steps, steps[1:], curves.since_previous_NK[1:], strict=False)
        if abs(1 - float(drift_K.mean())) < 4 * deviation < 0.1
    ]
    return remarks


def _still_from(curves: DriftCurves) -> int:
    """The earliest step from which on nothing changed, or the last step if something still did."""
    still = curves.steps[-1]
    for index in range(len(curves.steps) - 1, 0, -1):
        if not bool(curves.is_same_NK[index].all()):
            break
        still = curves.steps[index - 1]
    return still


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _deg(angle_deg: float) -> str:
    return f"{angle_deg:.0f}°" if angle_deg >= 10 else f"{angle_deg:.2g}°"
