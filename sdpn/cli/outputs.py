"""Outputs of a command are checked for writability before any work."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind, check_writable, is_stream


def check_outputs(args: argparse.Namespace, outputs: Mapping[str, OutputKind]) -> None:
    """Check that every given output can be written.

    Args:
        args: parsed options.
        outputs: the options that name outputs, as the parser stores them, and what they are.

    Raises:
        InputError: one cannot be written, or two are the same.
    """
    options: dict[str, str] = {}
    for name, kind in outputs.items():
        path: Path | None = getattr(args, name)
        if path is None:
            continue
        option = f"--{name.replace('_', '-')}"
        check_writable(path, kind)
        before = options.setdefault(os.path.realpath(path), option)
        if before != option and not is_stream(path):
            raise InputError(
                f"is given for both {before} and {option}: one would overwrite the other",
                path=path,
                hint="choose two different paths",
            )
