"""egs/finetune: held-out speakers, runs that are not repeated, the table, and the recipe as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_data_dir
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.registry import build_encoder
from tests.conftest import ROOT
from tests.recipes.running import run_recipe, stages

RECIPE = ROOT / "egs" / "finetune"

_TINY = """crops:
  local_s: 0.5
augmentation:
  preset: none
training:
  steps: 2
  batch_size: 4
  workers: 0
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, ModelFolder(build_encoder(config, 80).eval(), config, FeatureConfig()))
    return path


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("methods")
    for name, more in (("full", ""), ("scratch", ""), ("adapters", "layers:\n  trained: adapters\n")):
        (folder / f"{name}.yaml").write_text(_TINY + more)
    return sorted(folder.glob("*.yaml"))


def test_speakers_are_held_out_whole(voices: Path, tmp_path: Path) -> None:
    import hold_speakers

    assert hold_speakers.main(["--data", str(voices), "--out", str(tmp_path / "out"), "--speakers", "2"]) == 0
    found = {part: read_data_dir(tmp_path / "out" / part / voices.name) for part in ("train", "hold")}
    speakers = {part: {one.speaker for one in utterances} for part, utterances in found.items()}
    assert len(speakers["hold"]) == 2 and len(speakers["train"]) == 4
    assert not speakers["hold"] & speakers["train"] and sum(map(len, found.values())) == 24
    assert hold_speakers.main(["--data", str(voices), "--out", str(tmp_path / "no"), "--speakers", "6"]) == 2


def test_speakers_of_a_seed_are_nested(voices: Path) -> None:
    import efficiency

    utterances = read_data_dir(voices)
    few, more = (efficiency.drawn(utterances, number, 1, 4) for number in ("2", "4"))
    assert few == more[:2] and len(set(more)) == 4
    assert efficiency.drawn(utterances, "all", 1, 4) == [f"voice{index}" for index in range(6)]


@pytest.mark.parametrize(
    ("utterances", "passes", "expected"), [(5000, 10, 400), (500, 0, 400), (500, 10, 156), (50, 10, 100)]
)
def test_few_utterances_are_not_seen_a_hundred_times(utterances: int, passes: int, expected: int) -> None:
    import efficiency

    assert efficiency.enough_steps(400, 32, utterances, passes) == expected


@pytest.mark.parametrize(
    ("names", "speakers"),
    [
        (["adapters", "full"], ["all"]),
        pytest.param(["adapters", "full", "scratch"], ["3", "all"], marks=pytest.mark.slow),
    ],
)
def test_a_finished_run_is_not_repeated_and_the_table_has_every_cell(
    voices: Path,
    model: Path,
    methods: list[Path],
    names: list[str],
    speakers: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import efficiency
    import efficiency_results

    options = ["--model", str(model), "--data", str(voices), "--test", str(voices), "--runs", str(tmp_path)]
    options += [word for method in methods if method.stem in names for word in ("--method", str(method))]
    options += [
        "--speakers",
        ",".join(["0", *speakers]),
        "--ends",
        "2",
        "--least",
        "4",
        "--set",
        "training.precision=fp32",
    ]
    assert efficiency.main([*options, "--minutes", "1e-9"]) == 3  # the untouched model, and no run
    assert [file.name for file in tmp_path.glob("*.json")] == ["untouched.0.0.json"]
    assert efficiency.main(options) == 0
    runs = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("*.json")}
    assert len(runs) == 1 + len(names) * len(speakers) * 2 and not list(tmp_path.glob("*.work"))
    assert runs["full.all.0"]["num_speakers"] == 6
    first = f"full.{speakers[0]}.1"
    assert runs[first]["num_utterances"] == (12 if "3" in speakers else 24)
    adapters, full = runs["adapters.all.0"], runs["full.all.0"]
    assert adapters["trained_parameters"] < full["trained_parameters"] == full["encoder_parameters"]
    capsys.readouterr()
    (tmp_path / f"{first}.json").unlink()
    assert efficiency.main(options) == 0
    assert capsys.readouterr().out.startswith(f"{first}: EER ")
    again = json.loads((tmp_path / f"{first}.json").read_text())
    assert again["eer"] == runs[first]["eer"]
    out = tmp_path / "results"
    assert efficiency_results.main(["--runs", str(tmp_path), "--out", str(out), "--resamples", "20"]) == 0
    figures = {
        (one["method"], one["speakers"]): one for one in json.loads((out / "figures.json").read_text())
    }
    assert len(figures) == 1 + len(names) * len(speakers)
    cell = figures["full", 6]
    seeds = [runs[f"full.all.{seed}"]["eer"][voices.name] for seed in range(2)]
    assert cell["seeds"] == seeds and cell["eer"] == pytest.approx(sum(seeds) / 2)
    assert cell["difference"] == pytest.approx(cell["eer"] - figures["untouched", 0]["eer"])
    table = (out / "RESULTS.md").read_text()
    assert table.count("\n|") == 2 + len(figures) and f"{100 * cell['eer']:.2f}" in table
    assert (out / "efficiency.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_the_recipe_holds_out_chooses_and_reports(
    voices: Path, model: Path, methods: list[Path], tmp_path: Path
) -> None:
    options = ["--data", str(voices), "--test", str(voices), "--model", str(model), "--exp", str(tmp_path)]
    options += ["--method", str(methods[0]), "--hold", "2", "--speakers", "0,all", "--ends", "1"]
    done = run_recipe("finetune/run.sh", *options, timeout_s=200)
    assert stages(done, "done") == ["0", "1", "2"]
    assert stages(run_recipe("finetune/run.sh", *options, timeout_s=60), "up to date") == ["0", "1", "2"]
    for part in ("hold", "test"):
        assert "| untouched |" in (tmp_path / f"{part}.results/RESULTS.md").read_text()
