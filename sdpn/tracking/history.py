"""The prototypes that a run's checkpoints hold, in order: what drift can be computed from afterwards.

Two kinds of checkpoint are known, by what is in them:

- of this project: ``EXP/checkpoints/step-%08d/{state.pt, meta.json}``. The state also keeps the prototypes of
  step 0 and the teacher's usage, so that a single checkpoint is enough for the drift since the start;
- of 3D-Speaker: ``checkpoint.pth``, ``checkpoint0010.pth``, ``sdpn.pth`` in EXP, EXP/models or
  EXP/checkpoints, dictionaries with ``student``, ``teacher``, ``epoch`` and, in versions that save them,
  ``prototypes``.

A checkpoint is mapped into memory and only the prototypes are copied, so that large ones cost little, and no
code in a file is ever run.

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
from sdpn.tracking import drift

_FOLDER = re.compile(r"step-\d{8}")


@dataclass(frozen=True)
class Usage:
    """How the teacher's assignments are spread over prototypes, as a checkpoint keeps it.

    Attributes:
        share_K: share that each prototype got, (K,), summing to 1.
        until_step: step of the checkpoint.
        steps: training steps it was counted over.
        rows: assignments that were counted, at least; None where the checkpoint does not say.
    """

    share_K: Tensor
    until_step: int
    steps: int
    rows: int | None

    @property
    def is_dead_K(self) -> Tensor:
        """Which prototypes get less than a tenth of an equal share, bool (K,)."""
        return drift.is_dead(self.share_K)

    @property
    def is_short(self) -> bool:
        """Whether so few rows were counted that an unlucky prototype looks dead.

        K ln K rows, spread evenly at random, reach each of K prototypes once (the coupon collector).
        """
        num_prototypes = len(self.share_K)
        return self.rows is not None and self.rows < num_prototypes * float(np.log(num_prototypes))


@dataclass(frozen=True)
class Snapshot:
    """The prototypes at one moment.

    Attributes:
        step: steps, or epochs, done.
        prototypes_KE: (K, E), float64.
        path: the file they were read from.
        usage: the teacher's usage until then, where it is kept.
    """

    step: int
    prototypes_KE: Tensor
    path: Path
    usage: Usage | None = None


@dataclass(frozen=True)
class History:
    """The prototypes of one run over time.

    Attributes:
        source: who wrote the checkpoints.
        snapshots: at least one; steps rise.
        skipped: checkpoints that could not be used, and why, a sentence each.
        notes: what else a reader has to know, a sentence each.
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
        """The newest usage of the teacher that a checkpoint keeps."""
        return next((snapshot.usage for snapshot in reversed(self.snapshots) if snapshot.usage), None)


class _Unusable(Exception):
    """A checkpoint that has to be left out; the message goes on after its name."""


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
        ``state.pt`` files of this project; only where there is none, the ``.pth`` files of 3D-Speaker. Empty
        where there is neither.
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

    A checkpoint that is damaged or holds no prototypes is left out and named in ``skipped``.

    Raises:
        InputError: there is no checkpoint, none can be used, one asks for code to be run, or they are not of
            one run.
    """
    if not path.exists():
        raise InputError("no such file or folder", path=path)
    files = find_checkpoints(path)
    if not files:
        raise InputError(
            "holds no checkpoints",
            path=path,
            hint="name the folder that sdpn train wrote, or a 3D-Speaker folder with checkpoint*.pth or "
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
    """Sort what was found, add the prototypes of step 0, and refuse what cannot be one run."""
    _refuse_mixture(path, found)
    source = next(iter(found.values())).source
    notes: list[str] = []
    if len(found) == 1:
        ((file, only),) = found.items()
        if only.step is None:
            found = {file: replace(only, step=0)}
            notes.append(f"{file.name} tells no {_unit(only)}: it stands as 0.")
    at: dict[int, Snapshot] = {}
    for file, state in found.items():
        if state.step is None:
            skipped.append(f"{file} tells no {_unit(state)}, in itself or by its name.")
            continue
        same = at.get(state.step)
        if same is not None and not torch.equal(same.prototypes_KE, state.prototypes_KE):
            raise InputError(
                f"holds other prototypes than {same.path}, yet both are of {_unit(state)} {state.step}",
                path=file,
                hint="these are two runs: keep their checkpoints in two folders",
            )
        if same is None:  # 3D-Speaker writes checkpoint.pth beside the numbered file of the same epoch
            at[state.step] = Snapshot(state.step, state.prototypes_KE, file, state.usage)
    if not at:
        raise InputError(f"none of the {len(found)} checkpoints tells its {_unit(state)}", path=path)
    newest = at[max(at)]
    initial_KE = found[newest.path].initial_KE
    if initial_KE is not None:
        at.setdefault(0, Snapshot(0, initial_KE, newest.path))
    elif source == "sdpn" and 0 not in at:
        notes.append(
            f"{newest.path} keeps no prototypes of step 0 (tracking.initial): drift is counted from the "
            f"first checkpoint, step {min(at)}."
        )
    return History(source, tuple(at[step] for step in sorted(at)), tuple(skipped), tuple(notes))


def _unit(found: _Found) -> str:
    return "step" if found.source == "sdpn" else "epoch"


def _refuse_mixture(path: Path, found: dict[Path, _Found]) -> None:
    """Checkpoints of one run agree in their kind and in the shape of the prototypes."""
    (first, its), *others = found.items()
    for file, state in others:
        if state.source != its.source or state.prototypes_KE.shape != its.prototypes_KE.shape:
            raise InputError(
                f"holds checkpoints of several runs: {first.relative_to(path)} of {its.source} with "
                f"prototypes {tuple(its.prototypes_KE.shape)}, {file.relative_to(path)} of {state.source} "
                f"with {tuple(state.prototypes_KE.shape)}",
                path=path,
                hint="keep them in two folders, or name a single file",
            )


def _read(path: Path) -> _Found:
    meta = _checked_meta(path) if _FOLDER.fullmatch(path.resolve().parent.name) else {}
    state = _load(path)
    try:
        return _interpreted(path, state, meta)
    except _Unusable:
        raise
    except Exception as error:  # values of any kind may stand under the right keys
        raise _Unusable(f"holds something else than a training state ({reason_of(error)})") from error


def _interpreted(path: Path, state: dict[str, Any], meta: dict[str, Any]) -> _Found:
    model = state.get("model")
    if isinstance(model, dict) and isinstance(state.get("step"), int):
        return _own(state, model, meta)
    if "prototypes" not in state:
        if "student" in state or "teacher" in state:
            raise _Unusable(
                "holds no prototypes: some versions of 3D-Speaker, and its published models, leave them out, "
                "so that nothing can be said about them (and a run that is resumed from such a file goes on "
                "with new, random ones)"
            )
        raise _Unusable(
            "is no training checkpoint: neither model and step, as sdpn writes, nor prototypes, as "
            f"3D-Speaker does, are among its keys ({_listed(list(state))})"
        )
    return _Found("3D-Speaker", _epoch(path, state), _prototypes(state["prototypes"]), None, None)


def _own(state: dict[str, Any], model: dict[str, Any], meta: dict[str, Any]) -> _Found:
    if "prototypes" not in model:
        raise _Unusable("holds a model without prototypes")
    prototypes_KE = _prototypes(model["prototypes"])
    tracking = state.get("tracking")
    tracking = tracking if isinstance(tracking, dict) else {}
    initial_KE = _prototypes(tracking["initial"]) if "initial" in tracking else None
    return _Found("sdpn", state["step"], prototypes_KE, initial_KE, _usage(state["step"], tracking, meta))


def _usage(step: int, tracking: dict[str, Any], meta: dict[str, Any]) -> Usage | None:
    """The longer of the two windows that a checkpoint may keep: the open one, and the one before it.

    The open window starts at each look at the prototypes, so that a checkpoint made at a look finds it empty.
    """
    windows: list[tuple[int, Tensor]] = []
    if (steps := tracking.get("usage_steps", 0)) and "usage" in tracking:
        windows.append((int(steps), tracking["usage"].double() / steps))
    if (steps := tracking.get("last_usage_steps", 0)) and "last_usage" in tracking:
        windows.append((int(steps), tracking["last_usage"].double()))
    if not windows:
        return None
    longest, share_K = max(windows, key=lambda window: window[0])
    configuration = meta.get("configuration", {})
    per_step = configuration.get("training", {}).get("batch_size")
    num_global = configuration.get("crops", {}).get("num_global")
    rows = longest * per_step * num_global if per_step and num_global else None
    return Usage(share_K.clone(), step, longest, rows)


def _prototypes(value: Any) -> Tensor:
    """Check and copy out of the mapped file; float64, so that small turns are not lost in rounding."""
    if not isinstance(value, Tensor) or value.dim() != 2 or not value.is_floating_point() or not len(value):
        what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise _Unusable(f"holds as prototypes {what}; a matrix (K, E) of real numbers was expected")
    prototypes_KE = value.detach().to(torch.float64, copy=True)
    if not bool(torch.isfinite(prototypes_KE).all()):
        raise _Unusable("holds prototypes with NaN or infinite values: training has diverged")
    return prototypes_KE


def _epoch(path: Path, state: dict[str, Any]) -> int | None:
    """Epochs done: what the checkpoint says, else the number that its name ends with."""
    epoch = state.get("epoch")
    if isinstance(epoch, (int, np.integer)):
        return int(epoch)
    digits = re.search(r"(\d+)$", path.stem)
    return None if digits is None else int(digits[1])


def _checked_meta(path: Path) -> dict[str, Any]:
    """``meta.json`` beside a state, once the checksum in it is that of the state."""
    try:
        meta = read_json(path.with_name("meta.json"), "JSON document with a checksum")
        if file_sha256(path) != meta.get("sha256"):
            raise _Unusable("is damaged: its checksum is not the one in meta.json")
    except InputError as error:
        raise _Unusable(f"is damaged: meta.json {error.message}") from error
    except OSError as error:
        raise _Unusable(f"is damaged: {path.name}: {error.strerror}") from error
    return meta


def _load(path: Path) -> dict[str, Any]:
    """Load a checkpoint without running anything that it says.

    Raises:
        InputError: it asks for more than tensors, plain values and NumPy numbers.
    """
    try:
        with torch.serialization.safe_globals(numpy_scalars()):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if name := re.search(r"GLOBAL ((?:\w+\.)+\w+)", str(error)):  # random bytes rarely name one
            raise InputError(
                f"asks for {name[1]}, which is neither a tensor nor a plain value and could run code: "
                "the file was left alone",
                path=path,
                hint="if you trust it, save {'prototypes': …, 'epoch': …} of it alone, in another file",
            ) from error
        raise _Unusable("is damaged, or no file that torch.save wrote") from error
    except OSError as error:
        raise _Unusable(f"cannot be read: {error.strerror}") from error
    except Exception as error:  # what torch.load raises depends on the byte at which a file is damaged
        raise _Unusable("is damaged, or no file that torch.save wrote") from error
    if not isinstance(state, dict):
        raise _Unusable(f"is no checkpoint: it holds {type(state).__name__}, a dictionary was expected")
    return state


def _listed(keys: Sequence[object], most: int = 6) -> str:
    shown = ", ".join(map(str, keys[:most]))
    return (shown or "none") + (", …" if len(keys) > most else "")
