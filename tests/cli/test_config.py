"""sdpn config: every setting with its origin, in a form that the command reads again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sdpn.cli.commands import COMMANDS, command_module
from sdpn.cli.main import main
from sdpn.clustering.registry import CLUSTERERS
from sdpn.config import to_dict
from sdpn.training.config import RunConfig, load_run_config


def test_origins_are_the_default_the_line_and_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given.yaml"
    given.write_text("training:\n  steps: 7\noptimizer: {lr: 0.5, clip_norm: 2}\n")
    overrides = ["optimizer.lr=0.25", "sdpn.num_prototypes=8"]
    assert main(["config", "train", "--config", str(given), *overrides]) == 0
    shown = capsys.readouterr().out
    lines = {line.split(":")[0].strip(): line for line in shown.splitlines()}
    assert lines["steps"].split() == ["steps:", "7", "#", f"{given}:2"]
    assert lines["clip_norm"].split() == ["clip_norm:", "2.0", "#", f"{given}:3"]
    assert lines["lr"].split("#")[1].strip() == "command line"
    assert lines["objective"].split("#")[1].strip() == "default"
    whole = yaml.safe_load(shown)
    assert whole["optimizer"]["lr"] == 0.25
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert to_dict(load_run_config(again)) == to_dict(load_run_config(given, overrides))


def test_what_the_initial_model_brings_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "train", "initial.model=small"]) == 0
    brought = [
        line.split(":")[0].strip() for line in capsys.readouterr().out.splitlines() if "# initial" in line
    ]
    assert "hop_ms" in brought
    assert RunConfig().features.hop_ms != 20.0


@pytest.mark.parametrize("method", sorted(CLUSTERERS))
def test_the_settings_of_a_clusterer(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "diarize", "--method", method, "vad.threshold=0.4"]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["vad"]["threshold"] == 0.4
    saved = tmp_path / "settings.yaml"
    saved.write_text(shown)
    assert main(["config", "diarize", "--config", str(saved)]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(shown)


@pytest.mark.parametrize("command", [name for name in COMMANDS if hasattr(command_module(name), "settings")])
def test_every_command_with_settings(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", command]) == 0
    assert yaml.safe_load(capsys.readouterr().out)


def test_a_setting_that_has_no_default(capsys: pytest.CaptureFixture[str]) -> None:
    for given, line, origin in (
        ([], "n_clusters: null", "has to be given"),
        (["n_clusters=8"], "n_clusters: 8", "command line"),
    ):
        assert main(["config", "kmeans", "tol=0.5", *given]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [part.strip() for part in lines[1].split("#")] == [line, origin]
        assert "default" in next(line for line in lines if line.startswith("n_init"))
        assert "command line" in next(line for line in lines if line.startswith("tol"))


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "score"]) == 2
    assert "'sdpn score' has no settings (one of: train" in capsys.readouterr().err
    assert main(["config", "adapt", "--config", "x"]) == 2
    assert "'sdpn adapt' has no --config" in capsys.readouterr().err
    assert main(["config", "train", "optimizer.lrr=1"]) == 2
    assert "did you mean 'optimizer.lr'" in capsys.readouterr().err
    bad = tmp_path / "bad.yaml"
    bad.write_text("trainin:\n  steps: 3\n")
    assert main(["config", "train", "--config", str(bad)]) == 2
    assert f"{bad}:2" in capsys.readouterr().err
