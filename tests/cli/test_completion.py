"""Completion as a shell asks for it: the line so far in the environment, the words through a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdpn.cli.commands import COMMANDS
from sdpn.cli.main import main


def completions(line: str, folder: Path) -> set[str]:
    answer = folder / "answer"
    subprocess.run(
        [sys.executable, "-m", "sdpn"],
        check=True,
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
    )
    return {word.strip() for word in answer.read_text().split("\n")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sdpn ", {*COMMANDS, "help"}),
        ("sdpn dri", {"drift"}),
        ("sdpn diarize --num-s", {"--num-speakers"}),
        ("sdpn diarize --method n", {"nmesc"}),
        ("sdpn train optimizer.lr", {"optimizer.lr="}),
        ("sdpn help verify-", {"verify-receipt"}),
    ],
)
def test_commands_options_values_and_settings(line: str, expected: set[str], tmp_path: Path) -> None:
    assert completions(line, tmp_path) - {"--help", "--version"} == expected


def test_files_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meeting.wav").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert "meeting.wav" in completions("sdpn diarize --out o mee", tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_is_one_of_the_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "sdpn" in script and "_ARGCOMPLETE" in script
    if shell == "bash" and (bash := shutil.which("bash")):
        subprocess.run([bash, "-n"], input=script, text=True, check=True)
