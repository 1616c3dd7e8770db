"""Installing sdpn beside other packages for speech: whether pip finds versions that suit all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT
from tests.test_torchaudio_import import USE


def pip(*arguments: str, timeout_s: float) -> str:
    """Run pip and return what it complains about; skip where no index answers."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            cwd=ROOT,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the package index took more than {timeout_s:g} s")
    if done.returncode and any(sign in done.stderr for sign in ("NewConnectionError", "from versions: none")):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_the_bound_on_torchaudio_admits_both_that_are_in_use() -> None:
    (bound,) = re.findall(r'"torchaudio([^"]*)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert all(SpecifierSet(bound).contains(version) for version in ("2.8.0", "2.11.0"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neighbour", "wanted"),
    [
        # 3.8 is the first that holds torchaudio at 2.8; pip would rather take an older one than fail
        ("whisperx>=3.8", {"torch": "2.8.", "torchaudio": "2.8."}),
        ("pyannote.audio>=4", {"pyannote-core": ""}),
    ],
)
def test_a_fresh_environment_can_hold_both(neighbour: str, wanted: dict[str, str], tmp_path: Path) -> None:
    """Nothing is installed: pip only writes what it would install."""
    report = tmp_path / "report.json"
    pip(
        *("install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report), ".", neighbour),
        timeout_s=240,
    )
    versions = {
        each["metadata"]["name"].lower().replace(".", "-"): each["metadata"]["version"]
        for each in json.loads(report.read_text())["install"]
    }
    assert "sdpn" in versions
    for name, version in wanted.items():
        assert versions[name].startswith(version), versions


@pytest.mark.slow
def test_torchaudio_2_8_works_beside_another_torch(tmp_path: Path) -> None:
    """The wheel itself, which is not installed; its native extension fits the torch of that version."""
    pip("download", "--quiet", "--no-deps", "--dest", str(tmp_path), "torchaudio==2.8.0", timeout_s=120)
    (wheel,) = tmp_path.glob("torchaudio-2.8.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "torchaudio-2.8")
    path = os.pathsep.join([str(tmp_path / "torchaudio-2.8"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", USE + "print(torchaudio.__version__)"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "works"
    assert done.stdout.split()[1].startswith("2.8.0")
