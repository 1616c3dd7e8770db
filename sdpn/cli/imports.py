"""Imports that a command makes lighter than a library may."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def import_pyannote() -> None:
    """Import `pyannote.core` without matplotlib, with which it draws in notebooks: a third of a second.

    A command is no notebook. In a library, ``from pyannote.core import notebook`` of its user would break.
    """
    name = "matplotlib"
    if "pyannote.core" in sys.modules or name in sys.modules:
        return
    absent: Any = None  # which makes the import fail, as where there is no matplotlib
    sys.modules[name] = absent
    try:
        importlib.import_module("pyannote.core")
    finally:
        del sys.modules[name]
