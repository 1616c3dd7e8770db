"""The Dockerfile: linted by hadolint, its files are there, and where an engine runs, it is built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _engine() -> str | None:
    """An engine that answers; a client alone builds nothing."""
    clients = filter(None, map(shutil.which, ("docker", "podman")))
    return next(
        (one for one in clients if subprocess.run([one, "info"], capture_output=True).returncode == 0), None
    )


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (its wheels are for Linux on x86-64)")
    found = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_what_is_copied_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    names = [name.removeprefix("./") for line in copied for name in line.split()]
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(names) == sorted(kept)
    assert all((ROOT / name).exists() for name in names)


@pytest.mark.slow
def test_the_image_is_built_and_answers() -> None:
    engine = _engine()
    if engine is None:
        pytest.skip("no container engine runs")
    subprocess.run([engine, "build", "--tag", "sdpn-test", str(ROOT)], check=True)
    shown = subprocess.run([engine, "run", "--rm", "sdpn-test", "models"], capture_output=True, check=True)
    assert b"ecapa" in shown.stdout
