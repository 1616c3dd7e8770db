"""Change the ``calibration`` of a model folder without touching the weights."""

from __future__ import annotations

from pathlib import Path

import yaml

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.yaml_text import read_yaml


def store_calibration(folder: Path, name: str, value: float) -> None:
    """Set one value of ``calibration`` in ``folder/config.yaml``; everything else is kept.

    Raises:
        InputError: the folder is not a model folder, or is not writable.
    """
    path = folder / "config.yaml"
    document = read_yaml(path)
    calibration = document.get("calibration") or {}
    if document.get("format") != 1 or not isinstance(calibration, dict):
        raise InputError("is not an sdpn model of format 1", path=path)
    document["calibration"] = calibration | {name: value}
    atomic_write_text(path, yaml.safe_dump(document, sort_keys=False))
