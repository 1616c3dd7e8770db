"""``sdpn adapt`` as a command: its output and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdpn.cli.main import main
from tests.adaptation.conftest import base, calls  # noqa: F401 - fixtures
from tests.adaptation.test_adapt import SMALL


def test_the_result_names_the_model_that_is_kept(
    base: Path,  # noqa: F811
    calls: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    files = [str(tmp_path / "adapt.json"), "--quiet", *SMALL, "training.steps=0"]
    command = ["adapt", "--data", str(calls), "--model", str(base), "--out", str(out), "--json", *files]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "The OLD model is kept" in printed and f"model: {out}" in printed
    results = json.loads((tmp_path / "adapt.json").read_text())["results"]
    assert results["kept"] == "old" and results["reasons"]
    assert (out / "model.safetensors").is_file() and (tmp_path / "out.work/target/segments").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no recordings to adapt to"),
        (["--data", "nowhere"], "no such folder"),
        (["a.wav", "nowhere.wav"], "nowhere.wav: no such audio file"),
        (["a.wav", "--format", "onnx"], "has no prototypes"),
        (["a.wav", "--out", "x", "encoder.channels=3"], "unknown key 'encoder"),
        (["a.wav", "--out", "x", "--model", "nowhere"], "no such model folder"),
    ],
)
def test_bad_input_ends_with_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()
    assert main(["adapt", "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
