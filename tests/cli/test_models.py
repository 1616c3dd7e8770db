"""``sdpn models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdpn.cli.main import main
from sdpn.models.registry import SIZES
from tests.conftest import ROOT


@pytest.mark.slow
def test_every_encoder_is_listed_with_its_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json", str(tmp_path / "models.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(SIZES)
    listed = json.loads((tmp_path / "models.json").read_text())["results"]["models"]
    assert all(model["parameters"] > 0 and model["macs_per_s"] > 0 for model in listed)
    documented = (ROOT / "docs" / "models.md").read_text().splitlines()
    assert [line for line in lines if f"    {line}" not in documented] == []


def test_some_encoders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "resnet34"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["resnet34", "256", "6.63", "M"]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["resnet43"], "did you mean 'resnet"), (["--num-mels", "0"], "at least 1")]
)
def test_what_it_cannot_list(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *arguments]) == 2
    assert words in capsys.readouterr().err
