"""The prototypes of a run from its checkpoints: how they moved, and whether they are being trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.io.atomic import atomic_write_text
from sdpn.tracking.drift_curves import DriftCurves, degrees, drift_curves
from sdpn.tracking.drift_verdict import DriftState, DriftVerdict, describe_usage, judge_drift
from sdpn.tracking.prototype_history import History, read_history

#: A prototype has moved when it turned by more than this. Rounding its weights to bfloat16 turns it by 0.1°,
#: a run of a thousand steps by tens of degrees.
MOVED_DEG = 0.2


@dataclass(frozen=True, eq=False)
class PrototypeDrift:
    """How the prototypes of a run moved.

    Attributes:
        history: what was read.
        curves: movement over the checkpoints.
        verdict: whether they are being trained.
    """

    history: History
    curves: DriftCurves
    verdict: DriftVerdict

    @property
    def is_trained(self) -> bool:
        """Whether the prototypes are being trained."""
        return self.verdict.state is DriftState.TRAINED

    @property
    def usage_sentence(self) -> str:
        """The number of dead prototypes, in a sentence."""
        return describe_usage(self.history.usage)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        history, curves, verdict = self.history, self.curves, self.verdict
        usage = history.usage
        has_moved_K = verdict.has_moved_K
        scalars = curves.scalars()
        return {
            "source": history.source,
            "unit": history.unit,
            "num_prototypes": len(has_moved_K),
            "state": verdict.state.value,
            "is_trained": self.is_trained,
            "verdict": verdict.sentence,
            "remarks": list(verdict.remarks),
            "num_moved": int(has_moved_K.sum()),
            "not_moved": (~has_moved_K).nonzero().flatten().tolist(),
            "dead": None if usage is None else usage.is_dead_K.nonzero().flatten().tolist(),
            "dead_said": self.usage_sentence,
            "usage_steps": None if usage is None else usage.steps,
            "usage_rows": None if usage is None else usage.rows,
            "curves": [
                {history.unit: step} | {name: points.get(step) for name, points in scalars.items()}
                for step in curves.steps
            ],
            "turned_deg": degrees(curves.since_first_NK[-1]).tolist(),
            # one file may hold two snapshots, step 0 and its own
            "checkpoints": list(dict.fromkeys(str(snapshot.path) for snapshot in history.snapshots)),
            "skipped": list(history.skipped),
            "notes": list(history.notes),
        }

    def write_csv(self, path: Path) -> None:
        """Write a line for each checkpoint and prototype.

        Raises:
            InputError: the file cannot be written.
        """
        lines = [f"{self.history.unit},prototype,drift_initial,drift_previous,nearest_cosine"]
        for index, step in enumerate(self.curves.steps):
            columns = (
                self.curves.since_first_NK[index],
                self.curves.since_previous_NK[index],
                self.curves.nearest_cosine_NK[index],
            )
            lines += [
                f"{step},{prototype}," + ",".join(f"{value:.9g}" for value in values)
                for prototype, values in enumerate(zip(*(column.tolist() for column in columns), strict=True))
            ]
        atomic_write_text(path, "\n".join(lines) + "\n")


def prototype_drift(experiment: Path, *, moved_deg: float = MOVED_DEG) -> PrototypeDrift:
    """Read the checkpoints of a run and judge whether its prototypes are being trained.

    Args:
        experiment: folder written by ``sdpn train`` or by 3D-Speaker, or one checkpoint.
        moved_deg: turn in degrees above which a prototype has moved.

    Raises:
        InputError: there is no checkpoint that can be used.
    """
    history = read_history(experiment)
    curves = drift_curves([(snapshot.step, snapshot.prototypes_KE) for snapshot in history.snapshots])
    dimension = history.snapshots[-1].prototypes_KE.shape[1]
    verdict = judge_drift(curves, unit=history.unit, dimension=dimension, moved_deg=moved_deg)
    return PrototypeDrift(history, curves, verdict)
