"""egs/speaker_id: its rungs, its runs on a generated set, its tables, and the submission."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies

from sdpn.config import to_dict
from sdpn.data.mel_folder import read_mel_folder, write_mel_folder
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


def _command(generated: Path, out: Path, rungs: list[Path], **other: str) -> list[str]:
    options = {"folds": "2", "rates": "1e-2,1e-9", "seconds": "0.3", "tune_seconds": "0.1"} | other
    command = ["--data", str(generated), "--out", str(out)]
    for name, value in options.items():
        command += [f"--{name}", value]
    for rung in rungs:
        command += ["--rung", str(rung)]
    return command


def test_runs_tables_and_pictures(
    generated: Path, rungs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ladder
    import results

    command = _command(generated, tmp_path, rungs)
    assert ladder.main(command) == 0
    runs = {file.name: json.loads(file.read_text()) for file in (tmp_path / "runs").iterdir()}
    assert len(runs) == 2 * 2 + 2 * 2
    folds = [runs[f"02_two.fold{fold}.json"] for fold in (0, 1)]
    parts = [set(run["utterances"]) for run in (*folds, runs["01_one.tune.0.01.json"])]
    everything = {one.id for one in read_mel_folder(generated).utterances}
    assert set.union(*parts) == everything and sum(map(len, parts)) == len(everything)
    assert all(run["rate"] == 1e-2 for run in folds)  # the other learns nothing
    study = json.loads((tmp_path / "study.json").read_text())
    for run in folds:
        right = np.mean([a == b for a, b in zip(run["truth"], run["found"], strict=True)])
        assert run["accuracy"] == pytest.approx(right)
        assert run["steps"] == max(2, round(0.3 / study["rungs"]["02_two"]["step_s"]))
        assert run["curve"][-1][0] == run["steps"] and run["curve"][-1][1] < run["curve"][0][1]
    assert np.mean([run["accuracy"] for run in folds]) > 0.5  # chance is a quarter
    # what is there is not run again; what is missing is the same run again
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    (tmp_path / "runs/01_one.fold1.json").unlink()
    capsys.readouterr()
    assert ladder.main(command) == 0
    assert capsys.readouterr().out.count("accuracy") == 1
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"01_one.fold1.json"}
    again = json.loads((tmp_path / "runs/01_one.fold1.json").read_text())
    assert again | {"test_s": 0.0} == runs["01_one.fold1.json"] | {"test_s": 0.0}
    given = ["--study", str(tmp_path), "--conf", str(rungs[0].parent), "--out", str(tmp_path / "r")]
    assert results.main(given) == 0
    text = (tmp_path / "r/RESULTS.md").read_text()
    assert "| 02_two | 01 |" in text and study["commit"] in text and str(tmp_path) not in text
    assert "From the first rung to the last" in text and "Unfinished" not in text
    for name in ("confusions.png", "curves.png"):
        assert (tmp_path / "r" / name).read_bytes()[1:4] == b"PNG"
    (tmp_path / "runs/01_one.fold1.json").unlink()
    assert results.main(given) == 0
    assert "**Unfinished**: 01_one lack folds" in (tmp_path / "r/RESULTS.md").read_text()


def _runs(out: Path) -> dict[str, Any]:
    """Results of all runs, without what the clock says."""
    return {file.name: json.loads(file.read_text()) | {"test_s": 0.0} for file in (out / "runs").iterdir()}


def test_parts_of_the_rungs_are_the_whole_study(generated: Path, rungs: list[Path], tmp_path: Path) -> None:
    import ladder

    command = _command(generated, tmp_path / "parts", rungs, seconds="0.05", rates="1e-2")
    assert ladder.main([*command, "--only_times"]) == 0
    assert not (tmp_path / "parts/runs").exists()
    (tmp_path / "whole").mkdir()
    shutil.copy(tmp_path / "parts/study.json", tmp_path / "whole")  # the same steps
    for shard, name in (("1/2", "02_two"), ("0/2", "01_one")):
        assert ladder.main([*command, "--shard", shard]) == 0
        assert {f"{name}.fold{fold}.json" for fold in (0, 1)} <= _runs(tmp_path / "parts").keys()
    assert ladder.main(_command(generated, tmp_path / "whole", rungs, seconds="0.05", rates="1e-2")) == 0
    assert _runs(tmp_path / "parts") == _runs(tmp_path / "whole")
    assert ladder.main([*command, "--shard", "2/2"]) == 2


@pytest.mark.slow
def test_rungs_as_batch_jobs(
    generated: Path, rungs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import climb

    words = _command(generated, tmp_path / "jobs", rungs, seconds="0.05", rates="1e-2")
    assert climb.main(["--jobs", "2", "--executor", "local", "--", *words]) == 0
    assert len(_runs(tmp_path / "jobs")) == 4 and not (tmp_path / "jobs/.batch").exists()
    assert climb.main(["--jobs", "2", "--", *words, "--set", "optimizer.lr=x"]) == 2
    assert "optimizer.lr" in capsys.readouterr().err
    assert climb.main(["--jobs", "2", "--", *words, "--shard", "0/2"]) == 2
    assert "climb.py gives itself" in capsys.readouterr().err


def _measured(**seconds: float) -> Any:
    return lambda configs: {name: seconds[name] for name in configs}


def test_the_time_of_a_step_is_measured_once(rungs: list[Path], tmp_path: Path) -> None:
    import study

    one, two = (load_run_config(rung) for rung in rungs)
    settings = study.Settings("abc", 2, 1.0, 1.0, (1e-2,))

    def opened(configs: dict[str, RunConfig], measure: Any, settings: Any = settings) -> dict[str, float]:
        return dict(study.open_study(tmp_path, settings, configs, measure))

    assert opened({"one": one}, _measured(one=0.25)) == {"one": 0.25}
    assert opened({"one": one}, _measured()) == {"one": 0.25}
    # twice as slow a machine: the new rung has the ratio of the two
    both = opened({"one": one, "two": two}, _measured(one=0.5, two=1.5))
    assert both == {"one": 0.25, "two": 0.75} == opened({"one": one, "two": two}, _measured())
    with pytest.raises(InputError, match="rung one has other settings"):
        opened({"one": two}, _measured())
    with pytest.raises(InputError, match=r"of another study: folds was 2, is 3; seconds was 1\.0, is 9\.0"):
        opened({"one": one}, _measured(), study.Settings("abc", 3, 9.0, 1.0, (1e-2,)))
    (tmp_path / "study.json").write_text('{"settings": {}, "rungs": {"one": {"step_s": 0}}}')
    with pytest.raises(InputError, match="is not the study that"):
        opened({"one": one}, _measured())
    (tmp_path / "study.json").unlink()
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match=r"has runs but no study\.json"):
        opened({"one": one}, _measured())


@given(
    counts=strategies.lists(strategies.integers(1, 30), min_size=1, max_size=12),
    folds=strategies.integers(2, 6),
)
def test_utterances_that_rates_are_chosen_on(counts: list[int], folds: int) -> None:
    import ladder

    label_N = np.repeat(np.arange(len(counts)), counts)
    aside_N = ladder.aside(label_N, folds)
    for label, count in enumerate(counts):
        chosen = int(aside_N[label_N == label].sum())
        if count <= folds:
            assert chosen == 0
        else:  # one part of folds + 1, to one utterance; an utterance for each fold is left
            assert count // (folds + 1) <= chosen <= -(-count // (folds + 1)) and count - chosen >= folds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": "fast"}, "'fast' is not a list of learning rates"),
        ({"rates": "1e-3,nan"}, "is not a list of learning rates"),
        ({"rates": "0"}, "is not a list of learning rates"),
        ({"folds": "1"}, "is not a number of at least 2"),
        ({"seconds": "0"}, "is not a number of at least 0.01"),
        ({"seconds": "inf"}, "is not a number of at least 0.01"),
    ],
)
def test_options_out_of_range(
    change: dict[str, str],
    message: str,
    generated: Path,
    rungs: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import ladder

    with pytest.raises(SystemExit) as caught:
        ladder.main(_command(generated, tmp_path / "out", rungs, **change))
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_studies_that_cannot_be_made(
    generated: Path, rungs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ladder

    for change, message in (
        ({"folds": "7"}, "7 folds cannot be made: the largest class, 'id00001', has"),
        ({"folds": "6"}, "no speaker has more than 6 utterances, so that none are left to choose a rate on"),
    ):
        assert ladder.main(_command(generated, tmp_path, rungs, **change)) == 2
        error = capsys.readouterr().err
        assert error.startswith("ladder.py: error: ") and message in error and error.count("\n") == 1
    assert ladder.main(_command(generated, tmp_path, [rungs[0], rungs[0]])) == 2
    assert "two rungs have the same name" in capsys.readouterr().err
    assert ladder.main(_command(tmp_path / "nowhere", tmp_path, rungs)) == 2
    assert "metadata.json: no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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


def test_a_model_of_other_speakers_is_refused(
    generated: Path, rungs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import generate
    import predict

    _trained(generated, rungs[0], tmp_path / "exp", "training.steps=1")
    other, out = tmp_path / "other", tmp_path / "out.csv"
    assert generate.main(["--out", str(other), "--speakers", "5", "--utterances", "2", "--n_mels", "8"]) == 0
    given = ["--model", str(tmp_path / "exp/model"), "--data", str(other), "--out", str(out)]
    assert predict.main(given) == 2
    assert "mapping.json: has 5 speakers, the model 4: 'id00005' is only here" in capsys.readouterr().err
    (other / "mapping.json").unlink()  # who has only the test data classifies them all the same
    assert predict.main(given) == 0 and len(out.read_text().splitlines()) == 11
    bad = other / json.loads((other / "testdata.json").read_text())["utterances"][3]["feature_path"]
    mel = torch.load(bad, weights_only=True)
    torch.save(mel.fill_(torch.inf), bad)
    assert predict.main(given) == 2
    assert f"{bad.name}: has NaN or infinite features" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 11  # as it was
    del mel
    (other / "testdata.json").unlink()
    assert predict.main(given) == 2
    assert "testdata.json: no such file" in capsys.readouterr().err


def test_names_with_spaces(rungs: list[Path], tmp_path: Path) -> None:
    import ladder

    rng = np.random.default_rng(0)
    write = [(f"Anna {name}", rng.normal(size=(50, 8))) for name in "AB" for _ in range(4)]
    (tmp_path / "a set").mkdir()
    write_mel_folder(tmp_path / "a set", write, num_mels=8)
    metadata = tmp_path / "a set/metadata.json"
    (tmp_path / "a set/uttr-000000.pt").rename(tmp_path / "a set/utterance 0.pt")
    metadata.write_text(metadata.read_text().replace("uttr-000000.pt", "utterance 0.pt"))
    out = tmp_path / "an experiment"
    assert ladder.main(_command(tmp_path / "a set", out, rungs[:1], rates="1e-2", seconds="0.02")) == 0
    found = json.loads((out / "runs/01_one.fold0.json").read_text())
    assert set(found["truth"]) == {"Anna A", "Anna B"} and len(found["truth"]) == 4


def test_a_run_on_mels_resumes_to_the_bit(generated: Path, rungs: list[Path], tmp_path: Path) -> None:
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
def test_a_study_that_is_stopped_goes_on_as_the_same(
    generated: Path, rungs: list[Path], tmp_path: Path
) -> None:
    command = [sys.executable, str(RECIPE / "local/ladder.py")]
    command += _command(generated, tmp_path / "a", rungs[:1], rates="1e-2", seconds="4")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    begun = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 100
    while not list((tmp_path / "a/work").glob("*/exp/tensorboard/*")):
        assert begun.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.05)
    begun.send_signal(signal.SIGTERM)
    error = begun.communicate(timeout=100)[1]
    assert begun.returncode == 128 + signal.SIGTERM and "the same command continues" in error
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b/work")  # one resumes, the other begins the run again
    command[command.index("--out") + 1] = str(tmp_path / "b")
    subprocess.run(command, env=environment, check=True, timeout=300)
    command[command.index("--out") + 1] = str(tmp_path / "a")
    subprocess.run(command, env=environment, check=True, timeout=300)
    for fold in (0, 1):
        one, other = (json.loads((tmp_path / f"{n}/runs/01_one.fold{fold}.json").read_text()) for n in "ab")
        for run in (one, other):
            del run["test_s"], run["curve"]  # of which the interrupted run has another first point
        assert one == other


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
