"""egs/mini/run_pseudo.sh from end to end on coloured noise: every stage is the real one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sklearn.metrics import normalized_mutual_info_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdpn.cli.main import main
from sdpn.io.kaldi import read_data_dir, read_table, write_data_dir
from tests.conftest import ROOT, TINY
from tests.recipes.running import run_recipe, stages


def recipe(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return run_recipe("run_pseudo.sh", *args, timeout_s=300, code=code)


#: What the other tests leave in the folder that they share.
_OF_OTHER_TESTS = shutil.ignore_patterns("pseudo")


@pytest.fixture(scope="module")
def exp(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What run.sh leaves: data and a model. The voices are training and dev speakers at once."""
    folder = tmp_path_factory.mktemp("pseudo with a space") / "exp"
    for part in ("train", "dev"):
        write_data_dir(folder / "data" / part, read_data_dir(voices))
    shutil.copy(voices / "trials", folder / "data/dev/trials")
    options = ["train", "--data", str(folder / "data/train"), "--out", str(folder / "sdpn"), "--quiet"]
    assert main([*options, *TINY, "features.hop_ms=20", "training.steps=2", "training.workers=0"]) == 0
    return folder


@pytest.fixture(scope="module")
def options(exp: Path) -> list[str]:
    return settings_of(exp)


def settings_of(exp: Path, *, rounds: int = 1) -> list[str]:
    """Options of the recipe, with every setting as small as it gets."""
    given = ["--exp", str(exp), "--iterations", str(rounds)]
    settings = [setting for setting in TINY if not setting.startswith("encoder.")]  # those are the model's
    for setting in [*settings, "training.steps=4", "training.workers=0"]:
        given += ["--set", setting]
    return given


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 2])
def test_rounds_are_stages_and_a_table(exp: Path, tmp_path: Path, rounds: int) -> None:
    exp = Path(shutil.copytree(exp, tmp_path / "rounds with a space" / "exp", ignore=_OF_OTHER_TESTS))
    options = settings_of(exp, rounds=rounds)
    run = recipe(*options)
    every = [str(number) for number in range(1, 4 * rounds + 2)]
    assert stages(run, "done") == every
    table = (exp / "pseudo/table.txt").read_text().splitlines()
    assert table[0].split("  ")[0] == "iteration" and table[0].endswith("EER % with back end")
    assert [line.split()[0] for line in table[1:]] == ["0", "1", "2"][: rounds + 1]
    assert table[-1] in run.stdout

    speakers = read_table(exp / "data/train/utt2spk")
    for number, row in enumerate(table[2:], start=1):
        labels = read_table(exp / f"pseudo/{number}/labels")
        assert labels.keys() == speakers.keys()
        nmi = normalized_mutual_info_score(list(speakers.values()), [labels[name] for name in speakers])
        verified = json.loads((exp / f"pseudo/{number}/verify.json").read_text())["results"]
        cells = [str(len(set(labels.values()))), f"{nmi:.3f}", f"{100 * verified['eer']:.2f}"]
        assert [row.split()[column] for column in (1, 2, 4)] == cells
    curves = EventAccumulator(str(exp / "pseudo/tensorboard")).Reload()
    tags = ["pseudo/clusters", "pseudo/eer", "pseudo/min_dcf_001", "pseudo/nmi", "pseudo/purity"]
    assert sorted(curves.Tags()["scalars"]) == tags
    assert [event.step for event in curves.Scalars("pseudo/nmi")] == [1, 2][:rounds]

    for number in range(1, rounds + 1):
        model = yaml.safe_load((exp / f"pseudo/{number}/train/model/config.yaml").read_text())
        assert (model["features"]["hop_ms"], model["encoder"]["channels"]) == (20.0, 16)
    assert stages(recipe(*options), "up to date") == every
    changed = recipe(*options, "--set", "pseudo.margin=0.1", "--stop_stage", "3")
    assert stages(changed, "up to date") == ["1", "2"] and stages(changed, "done") == ["3"]


def test_the_table_compares_back_ends(tmp_path: Path) -> None:
    verified = {"eer": 0.0712, "min_dcf_001": 0.5}
    for name, eer in (("first", 0.08), ("first-back-end", 0.05)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": verified | {"eer": eer}}))
    (tmp_path / "1").mkdir()
    (tmp_path / "1/labels.json").write_text(
        json.dumps({"results": {"clusters": 9, "nmi": 0.9, "purity": 0.8}})
    )
    for name, eer in (("verify", 0.07), ("verify-back-end", 0.0412)):
        (tmp_path / f"1/{name}.json").write_text(json.dumps({"results": verified | {"eer": eer}}))
    command = [sys.executable, str(ROOT / "egs/mini/local/pseudo_table.py"), str(tmp_path), "--rounds", "1"]
    for option in ("first", "first-back-end"):
        command += [f"--{option}", str(tmp_path / f"{option}.json")]
    subprocess.run(command, check=True, capture_output=True)
    rows = [line.split() for line in (tmp_path / "table.txt").read_text().splitlines()]
    assert rows[1] == ["0", "–", "–", "–", "8.00", "0.500", "5.00"]
    assert rows[2] == ["1", "9", "0.900", "0.800", "7.00", "0.500", "4.12"]
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in curves.Scalars("pseudo/eer_back_end")] == pytest.approx([0.05, 0.0412])


@pytest.mark.slow
def test_other_features_than_the_models_are_refused(options: list[str]) -> None:
    refused = recipe(*options, "--set", "features.hop_ms=10", "--stop_stage", "3", code=2)
    assert "features.hop_ms is 20.0 there, 10.0 here" in refused.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--exp", "nowhere"], "no nowhere/data/train"),
        (["--iterations", "0"], "--iterations must be at least 1"),
        (["--model", "nowhere"], "no model at nowhere"),
    ],
)
def test_what_is_missing_is_named(options: list[str], change: list[str], message: str) -> None:
    assert message in recipe(*options, *change, code=2).stderr
