"""What scripts of recipes and tools share."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from sdpn.cli.script import commit_of, machine_kind, script
from sdpn.errors import InputError
from tests.conftest import ROOT


@script
def _work(path: str, *, fails: bool) -> None:
    if fails:
        raise InputError("is empty", path=path, line=3, hint="fill it")


def test_bad_input_is_one_line_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert _work("a.txt", fails=False) == 0 and not capsys.readouterr().err
    assert _work("a.txt", fails=True) == 2
    assert capsys.readouterr().err == "test_script.py: error: a.txt:3: is empty (fill it)\n"


def test_no_recipe_or_tool_has_its_own_way() -> None:
    own = [
        file.name
        for folder in ("egs", "tools")
        for file in (ROOT / folder).rglob("*.py")
        if "except InputError" in file.read_text(encoding="utf-8") and "error: {error}" in file.read_text()
    ]
    assert not own


def test_where_figures_come_from(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "a.py") == "not known"  # no repository
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_text("1")
    subprocess.run([*git, "add", "a.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    found = commit_of(tmp_path / "a.py")
    assert len(found) >= 7 and head.startswith(found)
    (tmp_path / "a.py").write_text("2")
    assert commit_of(tmp_path / "a.py") == f"{found}-dirty"
    assert platform.system() in machine_kind() and platform.node() not in machine_kind().split(", ")
