"""``sdpn drift`` as a user runs it: after real training, on folders of 3D-Speaker, and on bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sdpn.cli.main import main
from tests.conftest import TINY, write_noise


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of 10 steps, with checkpoints at 3, 6, 9 and 10 and looks at 4, 8 and 10."""
    folder = tmp_path_factory.mktemp("trained")
    write_noise(folder / "data", 6)
    settings = [
        *TINY, "training.steps=10", "training.workers=0", "training.checkpoint_every=3",
        "training.keep_checkpoints=10", "optimizer.lr=0.01",
    ]  # fmt: skip
    out = folder / "exp"
    assert main(["train", "--data", str(folder / "data"), "--out", str(out), "--quiet", *settings]) == 0
    return out


def of_3d_speaker(folder: Path, *turns_deg: float) -> Path:
    """Three checkpoints, ten epochs apart, of 4 prototypes that have turned by so much."""
    (folder / "models").mkdir(parents=True)
    for index, turn_deg in enumerate(turns_deg):
        angles = torch.deg2rad(torch.tensor([0.0, 90.0, 180.0, 270.0]) + turn_deg)
        state = {
            "student": {}, "teacher": {}, "optimizer": {"param_groups": [{"lr": np.float64(0.1)}]},
            "epoch": 10 * index + 1, "prototypes": torch.stack([angles.cos(), angles.sin()], 1),
        }  # fmt: skip
        torch.save(state, folder / "models" / f"checkpoint{10 * index:04}.pth")
    return folder


def test_a_real_run_is_being_trained_and_agrees_with_tensorboard(trained, tmp_path, capsys) -> None:
    from sdpn.report.events import read_event_log

    out = tmp_path / "drift.json"
    assert main(["drift", str(trained), "--check", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "10 prototypes of 8 dimensions, from checkpoints of sdpn" in shown
    assert "The prototypes are being trained: all 10 have turned since step 0" in shown
    assert [line.split()[0] for line in shown.splitlines()[3:8]] == ["0", "3", "6", "9", "10"]
    results = json.loads(out.read_text())["results"]
    assert (results["is_trained"], results["num_moved"], results["not_moved"]) == (True, 10, [])
    assert [point["step"] for point in results["curves"]] == [0, 3, 6, 9, 10]
    logged = read_event_log(trained / "tensorboard").scalars
    at_the_end = results["curves"][-1]
    for name in ("drift_initial_mean", "drift_initial_max", "nearest_cosine_mean", "effective_rank"):
        assert at_the_end[name] == pytest.approx(logged[f"prototypes/{name}"][10], rel=1e-4), name
    assert np.mean(1 - np.cos(np.deg2rad(results["turned_deg"]))) == pytest.approx(
        at_the_end["drift_initial_mean"]
    )


def test_the_last_checkpoint_alone_gives_the_drift_since_the_start(trained, tmp_path, capsys) -> None:
    whole, last = tmp_path / "whole.json", tmp_path / "last.json"
    assert main(["drift", str(trained), "--json", str(whole)]) == 0
    shutil.copytree(trained / "checkpoints/step-00000010", tmp_path / "exp/checkpoints/step-00000010")
    assert main(["drift", str(tmp_path / "exp"), "--json", str(last)]) == 0
    assert "since step 0" in capsys.readouterr().out
    results = [json.loads(path.read_text())["results"] for path in (whole, last)]
    assert results[0]["turned_deg"] == results[1]["turned_deg"]
    assert [point["step"] for point in results[1]["curves"]] == [0, 10]


def test_dead_prototypes_are_reported_if_usage_is_stored(trained, tmp_path, capsys) -> None:
    out = tmp_path / "drift.json"
    file = trained / "checkpoints/step-00000009/state.pt"  # a step after the look at step 8
    assert main(["drift", str(file), "--json", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    tracking = torch.load(file, weights_only=True)["tracking"]
    assert results["usage_steps"] == tracking["last_usage_steps"] == 4
    shares = tracking["last_usage"].tolist()
    assert results["dead"] == [index for index, share in enumerate(shares) if share < 0.01]
    shown = capsys.readouterr().out
    assert f"{len(results['dead'])} of 10 prototypes" in shown
    assert "\ndead:" in shown


def test_3d_speaker_trained_and_not(tmp_path, capsys) -> None:
    good, bad = of_3d_speaker(tmp_path / "good", 0, 20, 30), of_3d_speaker(tmp_path / "bad", 5, 5, 5)
    assert main(["drift", str(good), "--check"]) == 0
    shown = capsys.readouterr().out
    assert "The prototypes are being trained: all 4 have turned since epoch 1, by 30° on average" in shown
    assert "Which prototypes are dead is unknown" in shown
    assert "dead:" not in shown
    assert main(["drift", str(bad)]) == 0
    shown = capsys.readouterr().out
    assert (
        "The prototypes are NOT being trained: all 4 are bitwise identical at all 3 checkpoints from "
        "epoch 1 to 21."
    ) in shown
    assert "moved:     0 of 4" in shown
    assert "not moved: 0, 1, 2, 3" in shown


def test_check_fails_with_1_and_still_writes_the_document(tmp_path) -> None:
    out = tmp_path / "drift.json"
    assert main(["drift", str(of_3d_speaker(tmp_path / "bad", 5, 5)), "--check", "--json", str(out)]) == 1
    assert json.loads(out.read_text())["results"]["state"] == "not trained"
    single = of_3d_speaker(tmp_path / "single", 5)
    assert main(["drift", str(single)]) == 0
    assert main(["drift", str(single), "--check"]) == 1  # undecided is not trained


def test_a_single_file_shows_likeness_and_rank(tmp_path, capsys) -> None:
    file = of_3d_speaker(tmp_path, 5) / "models/checkpoint0000.pth"
    assert main(["drift", str(file), "--plot", str(tmp_path / "drift.png")]) == 0
    shown = capsys.readouterr().out.splitlines()
    epoch, *drifts, _, rank = shown[3].split()
    assert (epoch, drifts, rank) == ("1", ["–"] * 4, "2.0")
    assert "A single checkpoint does not show whether the prototypes are being trained" in shown[-2]
    assert not any(line.startswith(("moved:", "not moved:")) for line in shown)
    assert (tmp_path / "drift.png").stat().st_size > 10_000


def test_the_threshold_can_be_moved(tmp_path, capsys) -> None:
    folder = of_3d_speaker(tmp_path / "exp", 0, 3)
    assert main(["drift", str(folder), "--check", "--moved-deg", "2.9"]) == 0
    assert main(["drift", str(folder), "--check", "--moved-deg", "3.1"]) == 1
    assert "none of the 4 has turned by more than 3.1° (the largest turn is 3°)" in capsys.readouterr().out


def test_csv_has_a_line_for_each_checkpoint_and_prototype(tmp_path) -> None:
    folder, out = of_3d_speaker(tmp_path / "exp", 0, 60), tmp_path / "drift.csv"
    assert main(["drift", str(folder), "--csv", str(out)]) == 0
    with open(out, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["epoch"], row["prototype"]) for row in rows] == [(e, p) for e in ("1", "11") for p in "0123"]
    assert [float(row["drift_initial"]) for row in rows] == pytest.approx([0] * 4 + [0.5] * 4, abs=1e-6)
    assert [float(row["nearest_cosine"]) for row in rows] == pytest.approx([0] * 8, abs=1e-6)


def test_long_lists_are_cut_and_damage_is_named(tmp_path, capsys) -> None:
    folder = tmp_path / "exp"
    folder.mkdir()
    for epoch in (1, 2):
        torch.save({"prototypes": torch.eye(30), "epoch": epoch}, folder / f"checkpoint000{epoch}.pth")
    (folder / "checkpoint0003.pth").write_bytes(b"cut off")
    assert main(["drift", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"note: {folder}/checkpoint0003.pth is damaged, or was not written by torch.save.\n" in shown
    assert "not moved: 0, 1, 2, " in shown
    assert "18, 19, … and 10 more\n" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["absent"], "absent: no such file or folder"),
        (["."], "contains no checkpoints"),
        ([".", "--plot", "drift.doc"], "drift.doc: is not a supported image format"),
        (["text.pth"], "text.pth: is damaged, or was not written by torch.save"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys, options, message) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    if "text.pth" in options:
        (tmp_path / "text.pth").write_text("hello\n")
    assert main(["drift", *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sdpn drift: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("angle", ["-1", "180", "nan", "much"])
def test_a_threshold_is_an_angle(angle, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["drift", "exp", f"--moved-deg={angle}"])
    assert caught.value.code == 2
    assert "--moved-deg" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from sdpn.cli.main import main\n"
        "try: main(['drift', '--help'])\n"
        "finally: print(sorted({'torch', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr
    assert "docs/drift.md" in done.stdout
