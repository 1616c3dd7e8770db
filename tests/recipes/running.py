"""Runs a recipe as its users do, and reads what became of its stages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / "egs" / "mini"


def run_recipe(name: str, *args: str, timeout_s: float, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a recipe with the interpreter of the tests, and the sdpn beside it, first in PATH.

    Args:
        name: a script of egs/mini, or FOLDER/SCRIPT of another recipe.
        args: its options.
        timeout_s: seconds after which the test fails.
        code: the exit code that is expected.
    """
    done = subprocess.run(
        ["bash", str((RECIPES.parent if "/" in name else RECIPES) / name), *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def stages(done: subprocess.CompletedProcess[str], outcome: str) -> list[str]:
    """Numbers of the stages that ended with ``outcome``: 'up to date' or 'done'."""
    pattern = r"^stage (\d+): .*up to date$" if outcome == "up to date" else r"^stage (\d+): done in"
    return re.findall(pattern, done.stdout, flags=re.MULTILINE)
