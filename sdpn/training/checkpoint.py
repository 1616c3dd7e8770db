"""Checkpoints that survive a kill at any moment.

A checkpoint is a folder ``step-%08d`` with ``state.pt`` (tensors and plain numbers, loaded with
``weights_only=True``) and ``meta.json`` (checksum, configuration, versions). It is written under another
name and renamed into place last; one that is damaged all the same is passed over for the one before it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.checksum import file_sha256
from sdpn.training.provenance import provenance

_log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{8})")


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: ``EXP/checkpoints``.
        configuration: resolved configuration of the run, nested plain values.
        defaults: the configuration without any setting. A key that a checkpoint of an older version does not
            have counts as its default, which is how that version behaved.
        keep: how many of the newest to keep.
        keep_every: checkpoints whose step is a multiple of this are kept for good; 0 keeps none.
        world: number of processes that train; for people.
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

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after ``step`` steps, then drop the oldest checkpoints.

        Raises:
            InputError: the disk is full or cannot be written; older checkpoints stay as they were.
        """
        try:
            with atomic_directory(self._directory / f"step-{step:08d}") as folder:
                torch.save(state, folder / "state.pt")
                meta = {
                    "format": 1,
                    "step": step,
                    "sha256": file_sha256(folder / "state.pt"),
                    "configuration": self._configuration,
                    "world": self._world,
                    "versions": provenance(),
                }
                (folder / "meta.json").write_text(json.dumps(meta, indent=2, default=str) + "\n")
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            raise InputError(
                f"the checkpoint of step {step} cannot be written: {error}",
                path=self._directory,
                hint="earlier checkpoints are intact; free some space and start the same command again",
            ) from error
        for old in self._folders()[: -self._keep]:
            if not self._keep_every or int(old.name.removeprefix("step-")) % self._keep_every:
                shutil.rmtree(old)

    def load_newest(self) -> dict[str, Any] | None:
        """State of the newest checkpoint that is whole, or None where there is none.

        What a kill during a save left behind is removed.

        Raises:
            InputError: the checkpoint was made with another configuration; the keys are named.
        """
        for leftover in self._directory.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)  # the other processes of the run remove it, too
        folders = self._folders()
        for folder in reversed(folders):
            try:
                meta = json.loads((folder / "meta.json").read_text())
                if file_sha256(folder / "state.pt") != meta["sha256"]:
                    raise ValueError("its checksum does not match")
            except (OSError, ValueError, KeyError) as error:
                _log.warning("%s is damaged (%s): using the checkpoint before it", folder, error)
                continue
            self._refuse_other_configuration(meta["configuration"], folder)
            state: dict[str, Any] = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            return state
        if folders:
            raise InputError(
                "holds checkpoints, but none that is whole",
                path=self._directory,
                hint="move the folder away to start again",
            )
        return None

    def is_empty(self) -> bool:
        """Whether there is nothing to continue."""
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
                f"belongs to a run of objective {theirs.get('objective')!r}, not {mine.get('objective')!r}",
                path=folder,
                hint="use another --out",
            )
        if keys:
            changes = "; ".join(f"{key}: {theirs.get(key)!r} -> {mine.get(key)!r}" for key in keys)
            raise InputError(
                f"was made with another configuration ({changes})",
                path=folder,
                hint="a resumed run must be the same run: use another --out, or go back to these values",
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def lock(directory: Path) -> int:
    """Take the run's lock, so that two processes never write one experiment. The kernel drops it at exit.

    A record lock and not ``flock``: loader processes would inherit that and hold it on after a kill.

    Returns:
        the open file descriptor that holds it.

    Raises:
        InputError: another process holds it.
    """
    import fcntl

    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise InputError(
            "another run is training in this folder", path=directory, hint="wait for it, or use another --out"
        ) from None
    return descriptor
