"""Version of the running code, for checkpoints, the dashboard and the exported model."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import torch

from sdpn import __version__


@cache
def provenance() -> dict[str, str]:
    """Versions of sdpn and torch and, in a checkout, its git commit (``+`` if files were modified)."""
    return {"sdpn": __version__, "torch": str(torch.__version__), "commit": _commit()}


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown (installed without git)"
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({error})"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
