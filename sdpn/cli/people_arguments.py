"""``--people`` and the back end that compares voices with them, shared by ``enroll`` and ``diarize``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_people_arguments(parser: argparse._ActionsContainer, *, required: bool) -> None:
    """Declare ``--people`` and ``--back-end``."""
    parser.add_argument(
        "--people",
        type=Path,
        required=required,
        metavar="FOLDER",
        help="folder of voiceprints ('sdpn enroll')",
    )
    parser.add_argument(
        "--back-end",
        type=Path,
        metavar="FILE",
        help="back end trained with this model (default: the model's own)",
    )
