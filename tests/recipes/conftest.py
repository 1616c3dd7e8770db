"""What the recipe tests share: the recipe's own modules can be imported, and tones stand for speech."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

# the recipe's scripts import one another by name
for _folder in ("mini/local", "finetune/local", "speaker_id/local", "voxceleb/local", "shared"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "egs" / _folder))


@pytest.fixture(scope="session")
def write_tone() -> Callable[..., Path]:
    """Function that writes a 440 Hz tone of ``duration_s`` to a path, making the folders above it."""

    def write(path: Path, *, duration_s: float = 0.5, rate_hz: int = 16000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
        soundfile.write(path, 0.1 * np.sin(2 * np.pi * 440 * time_s), rate_hz)
        return path

    return write
