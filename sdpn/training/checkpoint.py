"""Checkpoints that survive a kill at any moment.

A checkpoint is a folder ``step-%08d`` with ``state.pt`` (tensors and plain numbers, loaded with
``weights_only=True``) and ``meta.json`` (checksum, configuration, versions). It is written under a temporary
name and renamed last; if one is damaged nevertheless, the previous one is used.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import read_json
from sdpn.io.locks import lock_for_process
from sdpn.memory import is_out_of_memory
from sdpn.training.provenance import provenance

_log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{8})")
#: Marker file next to a state: the evaluation due at its step has been done.
_EVALUATED = "looked"


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: ``EXP/checkpoints``.
        configuration: resolved configuration of the run, nested plain values.
        defaults: the default configuration. A key that is missing in a checkpoint of an older version counts
            as its default, which is how that version behaved.
        keep: number of most recent checkpoints to keep.
        keep_every: checkpoints whose step is a multiple of this are kept permanently; 0 keeps none.
        world: number of training processes, for information.

    Attributes:
        versions: of the code that made the newest checkpoint read or written; of this code if there is none.
    """

    def __init__(
        self,
        directory: Path,
        configuration: dict[str, Any],
        *,
        defaults: dict[str, Any] | None = None,
        keep: int,
        keep_every: int = 0,
        world: int = 1,
    ) -> None:
        self._directory = directory
        self._configuration = configuration
        self._defaults = {} if defaults is None else defaults
        self._keep = keep
        self._keep_every = keep_every
        self._world = world
        self.versions = provenance()

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after ``step`` steps, then drop the oldest checkpoints.

        Raises:
            InputError: the disk is full or not writable; older checkpoints are intact.
        """
        try:
            with atomic_directory(self._directory / f"step-{step:08d}") as folder:
                torch.save(state, folder / "state.pt")
                meta: dict[str, Any] = {
                    "format": 1,
                    "step": step,
                    "sha256": file_sha256(folder / "state.pt"),
                    "configuration": self._configuration,
                    "world": self._world,
                    "versions": provenance(),
                }
                (folder / "meta.json").write_text(json.dumps(meta, indent=2, default=str) + "\n")
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            if "DataLoader worker" in str(error):  # so does torch, anywhere, when a loader process is killed
                raise
            raise InputError(
                f"the checkpoint of step {step} cannot be written: {error}",
                path=self._directory,
                hint="earlier checkpoints are intact; free some space and rerun the command",
            ) from error
        self.versions = meta["versions"]
        # newer ones are damaged: this run resumed from an older one
        for old in [folder for folder in self._folders() if _step(folder) <= step][: -self._keep]:
            if not self._keep_every or _step(old) % self._keep_every:
                shutil.rmtree(old)

    def load_newest(self, check: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any] | None:
        """State of the newest intact checkpoint, or None if there is none.

        Remnants of an interrupted save are removed.

        Args:
            check: raises a ValueError for a state that cannot belong to this run; such a checkpoint counts as
                damaged.

        Raises:
            InputError: the checkpoint was made with another configuration; the message lists the keys.
        """
        for leftover in self._directory.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)  # other processes of the run may remove it, too
        folders = self._folders()
        for folder in reversed(folders):
            try:
                meta = read_meta(folder / "meta.json")
                if file_sha256(folder / "state.pt") != meta["sha256"]:
                    raise ValueError("its checksum does not match")
                self._refuse_other_configuration(meta["configuration"], folder)
                state = _read_state(folder / "state.pt")
                if state.get("step") != _step(folder):
                    raise ValueError("its step does not match its name")
                if check is not None:
                    check(state)
            except (OSError, ValueError) as error:
                _log.warning("%s is damaged (%s): using the previous checkpoint", folder, error)
                continue
            self.versions = meta["versions"]
            return state
        if folders:
            raise InputError(
                "contains only damaged checkpoints",
                path=self._directory,
                hint="move the folder away to train from the beginning",
            )
        return None

    def mark_evaluated(self, step: int) -> None:
        """Mark the evaluation that was due at ``step`` as done."""
        (self._directory / f"step-{step:08d}" / _EVALUATED).touch()

    def is_evaluated(self, step: int) -> bool:
        """Whether `mark_evaluated` was called, in this or an earlier process."""
        return (self._directory / f"step-{step:08d}" / _EVALUATED).exists()

    def is_empty(self) -> bool:
        """Whether there is no checkpoint to resume from."""
        return not self._folders()

    def _folders(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return sorted(path for path in self._directory.iterdir() if _NAME.fullmatch(path.name))

    def _refuse_other_configuration(self, other: dict[str, Any], folder: Path) -> None:
        mine, defaults = (
            _flat(json.loads(json.dumps(values, default=str)))
            for values in (self._configuration, self._defaults)
        )
        theirs = {**{key: value for key, value in defaults.items() if key in mine}, **_flat(other)}
        keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        if "objective" in keys:
            raise InputError(
                f"belongs to a run with objective {theirs.get('objective')!r}, not {mine.get('objective')!r}",
                path=folder,
                hint="use another --out",
            )
        if keys:
            changes = "; ".join(f"{key}: {theirs.get(key)!r} -> {mine.get(key)!r}" for key in keys)
            raise InputError(
                f"was made with another configuration ({changes})",
                path=folder,
                hint="to resume, restore these values; for a new run, use another --out",
            )


def read_meta(path: Path) -> dict[str, Any]:
    """Read ``meta.json``: checksum, configuration and versions.

    Raises:
        ValueError: it cannot be read, or is not what `CheckpointStore.save` writes.
    """
    try:
        meta = read_json(path, "checkpoint description")
    except InputError as error:
        raise ValueError(f"meta.json {error.message}") from error
    for key, kind in (("sha256", str), ("configuration", dict), ("versions", dict)):
        if not isinstance(meta.get(key), kind):
            raise ValueError(f"meta.json has no {key}")
    return {**meta, "versions": {key: str(value) for key, value in meta["versions"].items()}}


def _read_state(path: Path) -> dict[str, Any]:
    """Load tensors and plain values; no code in the file is executed.

    Raises:
        ValueError: it is not such a file, or not a dictionary.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # of any kind: it depends on the byte that is wrong
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"state.pt is not a file of tensors and plain values: {type(error).__name__}"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"state.pt: expected a dictionary, found {type(state).__name__}")
    return state


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def lock_run(directory: Path) -> int:
    """Lock the run, so that no two processes write to one experiment. The kernel releases it at exit.

    A record lock is used instead of ``flock``, which loader processes would inherit and keep after a kill.

    Returns:
        the open file descriptor that holds it.

    Raises:
        InputError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock_for_process(descriptor)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise InputError(
            "another run is training in this folder", path=directory, hint="wait for it, or use another --out"
        ) from None
    return descriptor
