"""egs/speaker_id: its rungs, its runs on a generated set, its tables, and the submission."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdpn.config import to_dict
from sdpn.data.mel_folder import read_mel_folder
from sdpn.errors import InputError
from sdpn.features.registry import build_features
from sdpn.training.config import RunConfig, load_run_config
from sdpn.training.pretrain import pretrain
from tests.conftest import ROOT
from tests.recipes.running import run_recipe, stages

RECIPE = ROOT / "egs" / "speaker_id"
RUNGS = sorted((RECIPE / "conf").glob("*.yaml"))

#: Rungs that take a second.
_TINY = """objective: supervised
features:
  num_mels: 8
  normalisation: none
encoder:
  kind: transformer
  width: 16
  heads: 2
  feed_forward: 16
  dropout: 0.0
supervised:
  head: linear
crops:
  num_global: 0
  num_local: 1
  local_s: 0.4
augmentation:
  preset: none
teacher:
  momentum: 0.0
  final_momentum: 0.0
optimizer:
  lr: 1.0e-2
  final_lr: 0.0
  warmup_steps: 5
training:
  steps: 60
  batch_size: 16
  workers: 0
  precision: fp32
guards:
  window: 0
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import generate

    folder = tmp_path_factory.mktemp("generated") / "set"
    options = ["--speakers", "4", "--utterances", "6", "--n_mels", "8"]
    assert generate.main(["--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def rungs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rungs")
    first, second = folder / "01_one.yaml", folder / "02_two.yaml"
    first.write_text(_TINY)
    second.write_text("base: 01_one.yaml\nencoder:\n  num_blocks: 2\n  pooling:\n    kind: statistics\n")
    return [first, second]


def _differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key in one.keys() | other.keys():
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.add(f"{prefix}{key}")
    return found


def test_every_rung_is_one_change_of_the_one_before() -> None:
    import results

    base_of = results.bases(RECIPE / "conf", [rung.stem for rung in RUNGS])
    assert [name for name, base in base_of.items() if base is None] == [RUNGS[0].stem]
    sections = {}
    for rung in RUNGS[1:]:
        base = base_of[rung.stem]
        assert base is not None and base < rung.stem  # comes before
        mine, theirs = (to_dict(load_run_config(RECIPE / f"conf/{name}.yaml")) for name in (rung.stem, base))
        changed = _differences(theirs, mine)
        assert changed, rung
        sections[rung.stem] = {key.split(".")[0] for key in changed}
        assert len(sections[rung.stem]) == 1, (rung, changed)
    assert sections["09_linear"] == sections["14_aam"] == {"supervised"}
    assert load_run_config(RUNGS[0]).features.num_mels == 40
    published = set(results._PUBLISHED)
    assert published <= set(base_of)


def test_runs_tables_and_pictures(
    generated: Path, rungs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ladder
    import results

    command = ["--data", str(generated), "--out", str(tmp_path), "--folds", "2", "--rates", "1e-2,1e-9"]
    command += ["--seconds", "0.3", "--tune_seconds", "0.1"]
    for rung in rungs:
        command += ["--rung", str(rung)]
    assert ladder.main(command) == 0
    files = sorted(file.name for file in (tmp_path / "runs").iterdir())
    assert len(files) == 2 * 2 + 2 * 2
    folds = [json.loads((tmp_path / f"runs/02_two.fold{fold}.json").read_text()) for fold in (0, 1)]
    everything = {one.id for one in read_mel_folder(generated).utterances}
    assert set(folds[0]["utterances"]) | set(folds[1]["utterances"]) == everything
    assert not set(folds[0]["utterances"]) & set(folds[1]["utterances"])
    assert all(run["rate"] == 1e-2 for run in folds)  # the other learns nothing
    for run in folds:
        right = np.mean([a == b for a, b in zip(run["truth"], run["found"], strict=True)])
        assert run["accuracy"] == pytest.approx(right)
    assert np.mean([run["accuracy"] for run in folds]) > 0.5  # chance is a quarter
    # what is there is not run again; what is missing is
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    (tmp_path / "runs/01_one.fold1.json").unlink()
    capsys.readouterr()
    assert ladder.main(command) == 0
    assert capsys.readouterr().out.count("accuracy") == 1
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"01_one.fold1.json"}
    given = ["--runs", str(tmp_path / "runs"), "--conf", str(rungs[0].parent), "--out", str(tmp_path / "r")]
    assert results.main(given) == 0
    text = (tmp_path / "r/RESULTS.md").read_text()
    assert "| 02_two | 01 |" in text and (tmp_path / "r/confusions.png").read_bytes()[1:4] == b"PNG"


def test_intervals_are_paired_and_of_the_same_utterances() -> None:
    import results

    def rung(name: str, found: list[str]) -> Any:
        truth = ["a", "a", "b", "b", "c", "c"]
        run = {"fold": 0, "truth": truth, "found": found, "accuracy": 0.0}
        return results.Rung(name, [run])

    before, after = rung("x", list("abbcca")), rung("y", list("aabbcb"))
    comparison = results.compare(before, after)
    assert comparison.difference == pytest.approx(2 / 6)
    same = results.compare(before, before)
    assert same.difference == same.interval.low == same.interval.high == 0.0
    other = results.Rung("z", [{"fold": 0, "truth": ["a", "b"], "found": ["a", "b"], "accuracy": 1.0}])
    with pytest.raises(InputError, match="tested on different utterances"):
        results.compare(before, other)
    assert results.compare(before, results.Rung("w", [{"fold": 1, "truth": [], "found": []}])) is None


def _trained(generated: Path, rung: Path, out: Path, *settings: str) -> dict[str, Any]:
    return pretrain(load_run_config(rung, settings), [generated], out)


def test_the_submission_names_a_speaker_for_every_test_utterance(
    generated: Path, rungs: list[Path], tmp_path: Path
) -> None:
    import predict

    _trained(generated, rungs[0], tmp_path / "exp")
    out = tmp_path / "submission.csv"
    assert (
        predict.main(["--model", str(tmp_path / "exp/model"), "--data", str(generated), "--out", str(out)])
        == 0
    )
    rows = list(csv.reader(out.open()))
    answers = list(csv.reader((generated / "answers.csv").open()))
    assert rows[0] == ["Id", "Category"] and [row[0] for row in rows] == [row[0] for row in answers]
    right = sum(row == answer for row, answer in zip(rows[1:], answers[1:], strict=True))
    assert len(rows) == 9 and right >= 5  # chance is two


def test_a_run_on_mels_resumes_to_the_bit(generated: Path, rungs: list[Path], tmp_path: Path) -> None:
    import shutil

    settings = [
        "supervised.folds=3",
        "evaluation.every=7",
        "training.steps=20",
        "training.checkpoint_every=8",
    ]
    _trained(generated, rungs[1], tmp_path / "a", *settings)
    state = torch.load(tmp_path / "a/checkpoints/step-00000020/state.pt", weights_only=True)
    shutil.rmtree(tmp_path / "a/checkpoints/step-00000020")
    _trained(generated, rungs[1], tmp_path / "a", *settings)
    again = torch.load(tmp_path / "a/checkpoints/step-00000020/state.pt", weights_only=True)
    for name, value in state["model"].items():
        assert torch.equal(again["model"][name], value) if torch.is_tensor(value) else value
    assert again["best"]["value"] == state["best"]["value"] and state["best"]["step"] in (7, 14)


def test_the_dashboard_of_mels_has_no_failures(
    generated: Path, rungs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _trained(generated, rungs[0], tmp_path / "exp", "training.steps=2", "supervised.folds=2")
    assert "training continues without it" not in caplog.text
    assert (tmp_path / "exp/checkpoints/step-00000002/looked").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["features.num_mels=40"], "has features of 8 mel bands; the run is of 40"),
        (["objective=sdpn", "crops.num_global=1"], "only objective=supervised takes"),
        (["augmentation.preset=default"], "cannot be augmented"),
        (["supervised.folds=7"], "7 folds cannot be made"),
    ],
)
def test_settings_that_do_not_fit_mels(
    generated: Path, rungs: list[Path], tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _trained(generated, rungs[0], tmp_path / "exp", *settings)


def test_bad_features_end_the_run_by_their_name(rungs: list[Path], tmp_path: Path) -> None:
    import generate

    folder = tmp_path / "set"
    assert generate.main(["--out", str(folder), "--speakers", "3", "--utterances", "3", "--n_mels", "8"]) == 0
    bad = read_mel_folder(folder).utterances[4]
    mel = torch.load(bad.path, weights_only=True)
    mel[3, 2] = torch.nan
    torch.save(mel, bad.path)
    with pytest.raises(InputError, match="NaN or infinite features, first in frame 3") as caught:
        _trained(folder, rungs[0], tmp_path / "exp")
    assert str(caught.value).startswith(str(bad.path))


def test_speech_becomes_features_of_speakers_with_enough_utterances(
    voices: Path, rungs: list[Path], tmp_path: Path
) -> None:
    import prepare_mels
    import soundfile

    corpus = tmp_path / "corpus"
    for index in range(24):  # voice 0 keeps three of its four utterances
        if index != 18:
            (corpus / f"voice{index % 6}").mkdir(parents=True, exist_ok=True)
            (corpus / f"voice{index % 6}/{index:02}.wav").write_bytes(
                (voices / f"{index:02}.wav").read_bytes()
            )
    out = tmp_path / "mels"
    given = ["--out", str(out), "--corpus", str(corpus), "--config", str(rungs[0])]
    assert prepare_mels.main([*given, "--least", "4"]) == 0
    mels = read_mel_folder(out)
    assert mels.names == tuple(f"corpus-voice{index}" for index in range(1, 6)) and len(mels.utterances) == 20
    config: RunConfig = load_run_config(rungs[0])
    wave, _ = soundfile.read(corpus / "voice1/01.wav", dtype="float32")
    expected = build_features(config.features).log_mel(torch.from_numpy(wave)[None])[0].T
    found = torch.load(mels.utterances[0].path, weights_only=True)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)  # the file has 16 bits
    assert prepare_mels.main([*given, "--least", "5"]) == 2


@pytest.mark.slow
def test_the_recipe_from_end_to_end(rungs: list[Path], tmp_path: Path) -> None:
    options = ["--exp", str(tmp_path / "exp"), "--folds", "2", "--rates", "1e-2", "--seconds", "0.3"]
    options += ["--synthesis", "--speakers 4 --utterances 4 --n_mels 8"]
    for rung in rungs:
        options += ["--rung", str(rung)]
    first = run_recipe("speaker_id/run.sh", *options, timeout_s=400)
    assert stages(first, "done") == ["0", "1", "2", "3"]
    assert "| 02_two | 01 |" in (tmp_path / "exp/results/RESULTS.md").read_text()
    assert len((tmp_path / "exp/submission.csv").read_text().splitlines()) == 1 + 4 * 2
    again = run_recipe("speaker_id/run.sh", *options, timeout_s=100)
    assert stages(again, "up to date") == ["0", "1", "2", "3"]


def test_the_recipe_refuses_what_does_not_exist() -> None:
    done = run_recipe("speaker_id/run.sh", "--mels", "nowhere", timeout_s=60, code=2)
    assert "no such folder: nowhere" in done.stderr
