"""Nested values with arrays in one ``.npz`` file, without pickle: what an interrupted fit goes on from."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path

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
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop(_HEADER)))
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"is not a whole saved state ({error})", path=path, hint="move it away to start again"
        ) from error
    for name, array in arrays.items():
        *sections, last = name.split("/")
        place = header
        for section in sections:
            place = place[section]
        place[last] = array
    state: dict[str, Any] = header
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
