"""The options of every command that trains into a folder: ``--config``, ``--data`` and ``--out``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_training_arguments(parser: argparse.ArgumentParser, *, data: str) -> None:
    """Declare the options; their values are ``config``, ``data`` and ``out``.

    Args:
        parser: of the command.
        data: what ``--data`` is, for its help.
    """
    parser.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="configuration file with the settings that differ from the defaults",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help=f"{data}, or what sdpn pack has made of one; repeatable",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="EXP", help="experiment folder")
