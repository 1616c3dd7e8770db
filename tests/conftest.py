"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared corpora: ``$SDPN_SHARED_DATA``, or ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("SDPN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the shared corpora are not here: {folder} (set SDPN_SHARED_DATA)")
    return folder
