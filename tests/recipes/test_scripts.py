"""Scripts of the recipes by themselves, without path.sh."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

EGS = ROOT / "egs"
SCRIPTS = sorted(path for path in EGS.glob("*/local/*.py") if path.read_bytes().startswith(b"#!"))
SHARED = {path.stem for path in (EGS / "shared").glob("*.py")}


def test_what_names_an_interpreter_can_be_run() -> None:
    files = [path for folder in ("egs", "tools") for path in (ROOT / folder).rglob("*") if path.is_file()]
    named = [path for path in files if path.read_bytes().startswith(b"#!")]
    assert len(named) > len(SCRIPTS) > 20
    assert not [str(path) for path in named if not os.access(path, os.X_OK)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_script_shows_its_help(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = [entry for entry in sys.path if not Path(entry).resolve().is_relative_to(EGS)]
    monkeypatch.setattr(sys, "path", [str(path.parent), *outside])  # as Python begins a script
    for name in SHARED | {script.stem for script in SCRIPTS}:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {path.name}")


def test_it_does_as_a_process(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, EGS / "aishell4/local/prepare_aishell4.py", "--help"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "--corpus" in done.stdout, done.stderr
