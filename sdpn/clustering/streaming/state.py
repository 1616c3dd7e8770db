"""Nested values with arrays in one ``.npz`` file, without pickle: what an interrupted fit goes on from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.json_text import parse_json
from sdpn.io.parsing import parsing

_HEADER = "header"


def save_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write nested dictionaries of arrays and of values that JSON has.

    Raises:
        InputError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    header = _without_arrays(state, "", arrays)
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:
            np.savez(stream, allow_pickle=False, **{_HEADER: np.array(json.dumps(header))}, **arrays)


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        InputError: the file is missing or is not whole.
    """
    with parsing(path, "is not a whole saved state", hint="move it away to start again"):
        arrays = read_npz(path)
        state = parse_json(str(arrays.pop(_HEADER)), "header of a saved state", path=path)
        for name, array in arrays.items():
            *sections, last = name.split("/")
            place = state
            for section in sections:
                place = place[section]
            place[last] = array
    return state


def remove_state(path: str | os.PathLike[str]) -> None:
    """Remove a state that is not needed any more, if there is one."""
    Path(path).unlink(missing_ok=True)


def _without_arrays(values: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The values that JSON has; the arrays go to ``arrays`` under their path."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            arrays[f"{prefix}{key}"] = value
        elif isinstance(value, dict):
            plain[key] = _without_arrays(value, f"{prefix}{key}/", arrays)
        else:
            plain[key] = value
    return plain
