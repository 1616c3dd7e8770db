"""Curves of a run that left checkpoints but no TensorBoard log."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from sdpn.errors import InputError
from sdpn.report.events import EventLog

_log = logging.getLogger(__name__)


def has_checkpoints(folder: Path, subfolders: Collection[str], files: Collection[str]) -> bool:
    """Whether a folder is that of a run of this project, or the one where 3D-Speaker keeps its checkpoints.

    Args:
        folder: where to look.
        subfolders: names of the folders in it.
        files: names of the files in it.
    """
    if "checkpoints" in subfolders and any((folder / "checkpoints").glob("step-*")):
        return True
    # other .pth files in an experiment may be anything
    return any(name.startswith("checkpoint") and name.endswith(".pth") for name in files)


def read_checkpoint_log(folder: Path) -> EventLog:
    """Drift curves of the prototypes, under the tags of `sdpn.tracking.board`; a point for each checkpoint.

    Checkpoints that cannot be used only cause a warning, so that the rest of the report is written.

    Returns:
        the curves; empty if no checkpoint can be used.
    """
    # torch, which takes seconds to import, is only needed here
    from sdpn.tracking.drift_curves import drift_curves
    from sdpn.tracking.prototype_history import read_history

    try:
        history = read_history(folder)
    except InputError as error:
        _log.warning("cannot compute prototype curves from checkpoints: %s", error)
        return EventLog()
    for sentence in (*history.skipped, *history.notes):
        _log.warning("%s", sentence)
    curves = drift_curves([(snapshot.step, snapshot.prototypes_KE) for snapshot in history.snapshots])
    return EventLog(
        scalars={f"prototypes/{name}": points for name, points in curves.scalars().items() if points}
    )
