"""The prototypes in the checkpoints of a run, in order, for computing drift afterwards.

Two kinds of checkpoint are supported, recognised by their content:

- of this project: ``EXP/checkpoints/step-%08d/{state.pt, meta.json}``. The state also keeps the prototypes of
  step 0 and the teacher's usage, so that a single checkpoint is enough for the drift since the start;
- of 3D-Speaker: ``checkpoint.pth``, ``checkpoint0010.pth``, ``sdpn.pth`` in EXP, EXP/models or
  EXP/checkpoints, dictionaries with ``student``, ``teacher``, ``epoch`` and, in versions that save them,
  ``prototypes``.

Checkpoints are memory-mapped and only the prototypes are copied, so that large ones cost little. No code in a
file is ever executed.

Shapes: K prototypes, E projection.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import read_json
from sdpn.io.parsing import reason_of
from sdpn.models.weights import numpy_scalars
from sdpn.tracking import prototype_statistics

_FOLDER = re.compile(r"step-\d{8}")

#: Upper limit on plausible steps or epochs.
_MOST = 10**15


@dataclass(frozen=True)
class Usage:
    """Distribution of the teacher's assignments over prototypes, as stored in a checkpoint.

    Attributes:
        share_K: share that each prototype got, (K,), summing to 1.
        until_step: step of the checkpoint.
        steps: training steps it was counted over.
        rows: minimum number of counted assignments; None if the checkpoint does not contain it.
    """

    share_K: Tensor
    until_step: int
    steps: int
    rows: int | None

    @property
    def is_dead_K(self) -> Tensor:
        """Which prototypes get less than a tenth of an equal share, bool (K,)."""
        return prototype_statistics.is_dead(self.share_K)

    @property
    def is_short(self) -> bool:
        """Whether so few rows were counted that a prototype may look dead by chance.

        K ln K rows, spread evenly at random, reach each of K prototypes once (the coupon collector).
        """
        num_prototypes = len(self.share_K)
        return self.rows is not None and self.rows < num_prototypes * float(np.log(num_prototypes))


@dataclass(frozen=True)
class Snapshot:
    """The prototypes at one step.

    Attributes:
        step: steps, or epochs, done.
        prototypes_KE: (K, E), float64.
        path: the file they were read from.
        usage: the teacher's usage until then, if stored.
    """

    step: int
    prototypes_KE: Tensor
    path: Path
    usage: Usage | None = None


@dataclass(frozen=True)
class History:
    """The prototypes of one run over time.

    Attributes:
        source: toolkit that wrote the checkpoints.
        snapshots: at least one; steps rise.
        skipped: a sentence for each checkpoint that could not be used.
        notes: further remarks, a sentence each.
    """

    source: Literal["sdpn", "3D-Speaker"]
    snapshots: tuple[Snapshot, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What `Snapshot.step` counts."""
        return "step" if self.source == "sdpn" else "epoch"

    @property
    def usage(self) -> Usage | None:
        """The newest teacher usage stored in a checkpoint."""
        return next((snapshot.usage for snapshot in reversed(self.snapshots) if snapshot.usage), None)


class _Unusable(Exception):
    """A checkpoint that cannot be used; the message continues after its name."""


@dataclass(frozen=True)
class _Found:
    """What one file holds; ``initial_KE`` are the prototypes of step 0."""

    source: Literal["sdpn", "3D-Speaker"]
    step: int | None
    prototypes_KE: Tensor
    initial_KE: Tensor | None
    usage: Usage | None


def find_checkpoints(path: Path) -> list[Path]:
    """The checkpoint files of a training folder, or of one checkpoint.

    Args:
        path: an experiment folder, its ``checkpoints`` or ``models`` folder, one ``step-%08d`` folder, or a
            file.

    Returns:
        ``state.pt`` files of this project; if there are none, the ``.pth`` files of 3D-Speaker; else empty.
    """
    if path.is_file():
        return [path]
    if _FOLDER.fullmatch(path.resolve().name):
        return [path / "state.pt"]
    for folder in (path / "checkpoints", path):
        if own := [
            file / "state.pt" for file in sorted(folder.glob("step-*")) if _FOLDER.fullmatch(file.name)
        ]:
            return own
    return [
        file
        for folder in (path, path / "models", path / "checkpoints")
        for file in sorted(folder.glob("*.pth"))
        if file.is_file()
    ]


def read_history(path: Path) -> History:
    """Read the prototypes of every checkpoint that `find_checkpoints` finds, in the order of their steps.

    A checkpoint that is damaged or has no prototypes is listed in ``skipped``.

    Raises:
        InputError: there is no checkpoint, none can be used, one contains code, or they are not from one run.
    """
    if not path.exists():
        raise InputError("no such file or folder", path=path)
    files = find_checkpoints(path)
    if not files:
        raise InputError(
            "contains no checkpoints",
            path=path,
            hint="give a folder written by sdpn train, or a 3D-Speaker folder with checkpoint*.pth or "
            "models/checkpoint*.pth",
        )
    found: dict[Path, _Found] = {}
    skipped: list[str] = []
    for file in files:
        try:
            found[file] = _read(file)
        except _Unusable as reason:
            if len(files) == 1:
                raise InputError(str(reason), path=file) from reason
            skipped.append(f"{file} {reason}.")
    if not found:
        raise InputError(
            f"none of the {len(files)} checkpoints can be used; the first is {skipped[0]}", path=path
        )
    return _in_order(path, found, skipped)


def _in_order(path: Path, found: dict[Path, _Found], skipped: list[str]) -> History:
    """Sort the snapshots, add the prototypes of step 0, and reject snapshots of different runs."""
    _refuse_mixture(path, found)
    source = next(iter(found.values())).source
    notes: list[str] = []
    if len(found) == 1:
        ((file, only),) = found.items()
        if only.step is None:
            found = {file: replace(only, step=0)}
            notes.append(f"{file.name} has no {_unit(only)}: it is shown as 0.")
    at: dict[int, Snapshot] = {}
    for file, state in found.items():
        if state.step is None:
            skipped.append(f"{file} has no {_unit(state)}, neither inside nor in its name.")
            continue
        same = at.get(state.step)
        if same is not None and not torch.equal(same.prototypes_KE, state.prototypes_KE):
            raise InputError(
                f"has other prototypes than {same.path}, but both are at {_unit(state)} {state.step}",
                path=file,
                hint="these are two runs: move their checkpoints into separate folders",
            )
        if same is None:  # 3D-Speaker writes checkpoint.pth beside the numbered file of the same epoch
            at[state.step] = Snapshot(state.step, state.prototypes_KE, file, state.usage)
    if not at:
        raise InputError(f"none of the {len(found)} checkpoints has a known {_unit(state)}", path=path)
    newest = at[max(at)]
    initial_KE = found[newest.path].initial_KE
    if initial_KE is not None:
        at.setdefault(0, Snapshot(0, initial_KE, newest.path))
    elif source == "sdpn" and 0 not in at:
        notes.append(
            f"{newest.path} has no prototypes of step 0 (tracking.initial): drift is measured from the "
            f"first checkpoint, step {min(at)}."
        )
    return History(source, tuple(at[step] for step in sorted(at)), tuple(skipped), tuple(notes))


def _unit(found: _Found) -> str:
    return "step" if found.source == "sdpn" else "epoch"


def _refuse_mixture(path: Path, found: dict[Path, _Found]) -> None:
    """Reject checkpoints that differ in kind or in the shape of the prototypes."""
    (first, its), *others = found.items()
    for file, state in others:
        if state.source != its.source or state.prototypes_KE.shape != its.prototypes_KE.shape:
            raise InputError(
                f"contains checkpoints of several runs: {first.relative_to(path)} of {its.source} with "
                f"prototypes {tuple(its.prototypes_KE.shape)}, {file.relative_to(path)} of {state.source} "
                f"with {tuple(state.prototypes_KE.shape)}",
                path=path,
                hint="move them into separate folders, or give a single file",
            )


def _read(path: Path) -> _Found:
    meta = _checked_meta(path) if _FOLDER.fullmatch(path.resolve().parent.name) else {}
    state = _load(path)
    try:
        return _interpreted(path, state, meta)
    except _Unusable:
        raise
    except Exception as error:  # values of any kind may stand under the right keys
        raise _Unusable(f"is not a training state ({reason_of(error)})") from error


def _interpreted(path: Path, state: dict[str, Any], meta: dict[str, Any]) -> _Found:
    model = state.get("model")
    if isinstance(model, dict) and isinstance(state.get("step"), int):
        return _own(_count(state["step"], "step"), state, model, meta)
    if "prototypes" not in state:
        if "student" in state or "teacher" in state:
            raise _Unusable(
                "contains no prototypes: some versions of 3D-Speaker, and its published models, do not "
                "store them, so that their drift is unknown (and a run resumed from such a file "
                "continues with new, random prototypes)"
            )
        raise _Unusable(
            "is not a training checkpoint: neither model and step, as in sdpn, nor prototypes, as in "
            f"3D-Speaker, are among its keys ({_listed(list(state))})"
        )
    return _Found("3D-Speaker", _epoch(path, state), _prototypes(state["prototypes"]), None, None)


def _own(step: int, state: dict[str, Any], model: dict[str, Any], meta: dict[str, Any]) -> _Found:
    if "prototypes" not in model:
        raise _Unusable("contains a model without prototypes")
    prototypes_KE = _prototypes(model["prototypes"])
    tracking = state.get("tracking")
    tracking = tracking if isinstance(tracking, dict) else {}
    initial_KE = _prototypes(tracking["initial"]) if "initial" in tracking else None
    if initial_KE is not None and initial_KE.shape != prototypes_KE.shape:
        raise _Unusable(
            f"contains prototypes {tuple(prototypes_KE.shape)}, and of step 0 {tuple(initial_KE.shape)}: "
            "these are from two runs"
        )
    return _Found("sdpn", step, prototypes_KE, initial_KE, _usage(step, len(prototypes_KE), tracking, meta))


def _usage(step: int, num_prototypes: int, tracking: dict[str, Any], meta: dict[str, Any]) -> Usage | None:
    """The longer of the two windows that a checkpoint may keep: the open one, and the one before it.

    The open window starts at each evaluation of the prototypes, so that it is empty in a checkpoint made
    then.
    """
    windows: list[tuple[int, Tensor]] = []
    for name in ("usage", "last_usage"):
        steps = _count(tracking.get(f"{name}_steps", 0), f"tracking.{name}_steps")
        if steps and name in tracking:
            usage_K = _numbers(tracking[name], "usage", "K", dims=1)
            if len(usage_K) != num_prototypes:
                raise _Unusable(f"contains the usage of {len(usage_K)} prototypes, but has {num_prototypes}")
            windows.append((steps, usage_K / steps if name == "usage" else usage_K))
    if not windows:
        return None
    longest, share_K = max(windows, key=lambda window: window[0])
    per_step = _setting(meta, "training", "batch_size")
    num_global = _setting(meta, "crops", "num_global")
    rows = longest * per_step * num_global if per_step and num_global else None
    return Usage(share_K, step, longest, rows)


def _setting(meta: dict[str, Any], section: str, key: str) -> int | None:
    """A whole number of the configuration in ``meta.json``; None where there is none."""
    values: Any = meta
    for name in ("configuration", section, key):
        values = values.get(name) if isinstance(values, dict) else None
    return _count(values, f"{section}.{key} in meta.json") if values is not None else None


def _count(value: Any, name: str) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise _Unusable(f"has an invalid {name}: expected a whole number")
    return int(value)


def _prototypes(value: Any) -> Tensor:
    """Check and copy out of the mapped file; float64, so that small turns are not lost in rounding."""
    return _numbers(value, "prototypes", "K, E", dims=2)


def _numbers(value: Any, what: str, shape: str, *, dims: int) -> Tensor:
    if (
        not isinstance(value, Tensor)
        or value.layout != torch.strided
        or value.device.type != "cpu"
        or value.dim() != dims
        or not value.is_floating_point()
        or not value.numel()
    ):
        found = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        kind = "matrix" if dims == 2 else "vector"
        raise _Unusable(f"contains {found} as {what}; expected a {kind} ({shape}) of real numbers")
    # a tensor of a few bytes can claim to be of any size, by repeating them
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise _Unusable(f"contains {what} {tuple(value.shape)} in fewer bytes than that needs")
    numbers = value.detach().to(torch.float64, copy=True)
    if not bool(torch.isfinite(numbers).all()):
        raise _Unusable(f"contains {what} with NaN or infinite values: training has diverged")
    return numbers


def _epoch(path: Path, state: dict[str, Any]) -> int | None:
    """Epochs done: from the checkpoint, else the number at the end of its name."""
    epoch = state.get("epoch")
    if isinstance(epoch, (int, np.integer)):
        return _count(epoch, "epoch")
    digits = re.search(r"(\d{1,15})$", path.stem)
    return None if digits is None else int(digits[1])


def _checked_meta(path: Path) -> dict[str, Any]:
    """``meta.json`` beside a state, once the checksum in it is that of the state."""
    try:
        meta = read_json(path.with_name("meta.json"), "JSON document with a checksum")
        if file_sha256(path) != meta.get("sha256"):
            raise _Unusable("is damaged: its checksum does not match meta.json")
    except InputError as error:
        raise _Unusable(f"is damaged: meta.json {error.message}") from error
    except OSError as error:
        raise _Unusable(f"is damaged: {path.name}: {error.strerror}") from error
    return meta


def load_checkpoint_state(path: Path) -> dict[str, Any]:
    """The training state of a checkpoint of this project, whole and without executing anything in it.

    Raises:
        InputError: the file is damaged, or contains more than tensors, plain values and NumPy numbers.
    """
    try:
        _checked_meta(path)
        return _load(path)
    except _Unusable as reason:
        raise InputError(str(reason), path=path) from reason


def _load(path: Path) -> dict[str, Any]:
    """Load a checkpoint without executing anything in it.

    Raises:
        InputError: it contains more than tensors, plain values and NumPy numbers.
    """
    try:
        with torch.serialization.safe_globals(numpy_scalars()):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if name := re.search(r"GLOBAL ((?:\w+\.)+\w+)", str(error)):  # random bytes rarely name one
            raise InputError(
                f"refers to {name[1]}, which is neither a tensor nor a plain value and could execute code: "
                "the file was not loaded",
                path=path,
                hint="if you trust it, save only {'prototypes': …, 'epoch': …} to a new file",
            ) from error
        raise _Unusable("is damaged, or was not written by torch.save") from error
    except OSError as error:
        raise _Unusable(f"cannot be read: {error.strerror}") from error
    except Exception as error:  # what torch.load raises depends on the byte at which a file is damaged
        raise _Unusable("is damaged, or was not written by torch.save") from error
    if not isinstance(state, dict):
        raise _Unusable(f"is not a checkpoint: expected a dictionary, found {type(state).__name__}")
    return state


def _listed(keys: Sequence[object], most: int = 6) -> str:
    shown = ", ".join(map(str, keys[:most]))
    return (shown or "none") + (", …" if len(keys) > most else "")
