"""What a table of results says of where they come from: code, machine, seeds."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path


def origin(seeds: Iterable[object]) -> str:
    """A line on commit, machine and seeds.

    Args:
        seeds: of the results; each is named once.
    """
    named = ", ".join(dict.fromkeys(map(str, seeds)))
    return f"Commit {_commit()}, on {_machine()}. Seed {named or 'not known'}."


def _commit() -> str:
    """The commit of this checkout, with a mark where files differ from it."""
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "not known"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # no Linux, or no PC
    gpus = [path.name for path in Path("/proc/driver/nvidia/gpus").glob("*")]
    more = f", {len(gpus)} NVIDIA GPU{'s' * (len(gpus) != 1)}" if gpus else ""
    return f"{model}, {os.cpu_count()} cores{more}, {platform.system()} {platform.release()}"
