"""EER while training is the EER of the exported model; it changes nothing in the run."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.distill.base import SelfDistillation
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.evaluation import Evaluation, EvaluationConfig
from sdpn.training.pretrain import pretrain
from sdpn.training.random_streams import random_streams
from tests.conftest import TINY
from tests.training.torchrun import torchrun

_ALONE = Processes(0, 1, torch.device("cpu"))
_RUN = [*TINY, "training.workers=0", "training.steps=6"]


def _run(voices: Path, out: Path, *settings: str) -> EventAccumulator:
    config = load_config(RunConfig, None, [*_RUN, *settings])
    pretrain(config, [voices], out, on_progress=lambda _: None)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return events


def test_the_board_shows_the_eer_of_what_is_exported(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [f"evaluation.data={voices}", f"evaluation.trials={voices / 'trials'}", "evaluation.every=4"]
    events = _run(voices, tmp_path / "watched", *trials)
    points = {event.step: event.value for event in events.Scalars("evaluation/eer")}
    assert set(points) == {4, 6}

    model, out = tmp_path / "watched/model", tmp_path / "embeddings"
    assert main(["extract", "--model", str(model), "--data", str(voices), "--out", str(out), "--quiet"]) == 0
    table = ["--embeddings", str(out / "embeddings.scp"), "--json", str(tmp_path / "eer.json")]
    assert main(["verify", "--trials", str(voices / "trials"), "--resamples", "10", *table]) == 0
    capsys.readouterr()
    eer = json.loads((tmp_path / "eer.json").read_text())["results"]["eer"]
    assert points[6] == pytest.approx(eer, abs=1e-6)

    _run(voices, tmp_path / "unwatched")
    for name in ("model", "optimizer"):
        one, two = (
            torch.load(tmp_path / run / "checkpoints/step-00000006/state.pt", weights_only=True)[name]
            for run in ("watched", "unwatched")
        )
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_dashboard_has_every_documented_tag(voices: Path, tmp_path: Path) -> None:
    trials = [f"evaluation.data={voices}", f"evaluation.trials={voices / 'trials'}"]
    events = _run(voices, tmp_path / "exp", *trials, "sdpn.dimension_weight=0.1")
    tags = events.Tags()
    assert set(tags["scalars"]) == {
        *(f"loss/{name}" for name in ("total", "ce", "memax", "koleo", "dimension")),
        *(f"train/{name}" for name in ("lr", "momentum", "grad_norm", "step_s", "loader_wait")),
        "train/bad_files",
        "train/audio_hours_per_hour",
        *(f"prototypes/drift_{since}_{how}" for since in ("initial", "previous") for how in ("mean", "max")),
        *(f"prototypes/{name}" for name in ("grad_norm", "nearest_cosine_mean", "effective_rank")),
        *(f"prototypes/{name}" for name in ("usage_perplexity", "dead")),
        *(f"embedding/{name}" for name in ("std", "effective_rank")),
        "evaluation/eer",
    }
    assert tags["images"] == ["prototypes/similarity"] and tags["graph"]
    assert set(tags["histograms"]) == {
        "prototypes/usage",
        "prototypes/drift_initial",
        "prototypes/drift_previous",
    }
    assert {tag.removesuffix("/text_summary") for tag in tags["tensors"]} == {"configuration", "code"}
    metadata = (
        next((tmp_path / "exp/tensorboard").glob("*/prototypes*/metadata.tsv")).read_text().splitlines()
    )
    rows = [line.split("\t") for line in metadata]
    assert rows[:2] == [["label", "kind", "utterance", "speaker"], ["prototype 0", *["prototype"] * 3]]
    assert len(rows) == 1 + 10 + 24 * 4 and rows[-1][3].startswith("voice")


def _evaluation(trials: Path, voices: Path) -> Evaluation:
    run = load_config(RunConfig, None, _RUN)
    config = EvaluationConfig(data=voices, trials=trials)
    return Evaluation(config, encoder=run.encoder, features=run.features, processes=_ALONE)


def _network(voices: Path) -> SelfDistillation:
    """Random weights that separate speakers a little: their batch norms have statistics of speech."""
    torch.manual_seed(3)
    network = build(load_config(RunConfig, None, _RUN)).train()
    waves = np.stack([utterance.read() for utterance in read_data_dir(voices)])
    with torch.no_grad():
        for _ in range(50):
            network.teacher(network.features(torch.from_numpy(waves)))
    return network


def _telling_trials(voices: Path, encoder: Encoder, path: Path) -> float:
    """Write trials on which the encoder errs in one of ten, and return its EER.

    Every utterance is embedded alone; scikit-learn's curve gives the crossing of false alarms and misses.
    """
    config = load_config(RunConfig, None, _RUN)
    model = Embedder(ModelFolder(copy.deepcopy(encoder).eval(), config.encoder, config.features))
    rows = np.stack([model.embed(utterance.read(), 16000) for utterance in read_data_dir(voices)])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    first, second = np.triu_indices(len(unit), 1)
    scores = (unit[first] * unit[second]).sum(axis=1)
    target = (scores > np.median(scores)) ^ (np.random.default_rng(0).random(len(scores)) < 0.1)
    lines = [f"{int(t)} u{a:02} u{b:02}\n" for t, a, b in zip(target, first, second, strict=True)]
    path.write_text("".join(lines))
    false_alarm, hit, _ = roc_curve(target, scores, drop_intermediate=False)
    at = np.abs(false_alarm - (1 - hit)).argmin()
    return float(false_alarm[at] + (1 - hit[at])) / 2


def test_the_eer_is_that_of_each_utterance_alone_and_leaves_the_training_alone(
    voices: Path, tmp_path: Path
) -> None:
    network = _network(voices)
    before = {name: value.clone() for name, value in network.state_dict().items() if torch.is_tensor(value)}
    expected = _telling_trials(voices, network.teacher.encoder, tmp_path / "trials")
    streams = random_streams()
    eer = _evaluation(tmp_path / "trials", voices).eer(network.teacher.encoder)
    assert eer == pytest.approx(expected, abs=0.005) and 0.05 < eer < 0.2
    assert torch.equal(random_streams()["cpu"], streams["cpu"]) and network.teacher.encoder.training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_audio_is_decoded_once(voices: Path, tmp_path: Path) -> None:
    data = shutil.copytree(voices, tmp_path / "voices")
    scp = (data / "wav.scp").read_text().replace(str(voices), str(data))
    (data / "wav.scp").write_text(scp)
    kept, forgetful = (
        Evaluation(
            EvaluationConfig(data=data, trials=data / "trials", cache_mb=cache_mb),
            encoder=RunConfig().encoder,
            features=load_config(RunConfig, None, _RUN).features,
            processes=_ALONE,
        )
        for cache_mb in (10, 0)
    )
    encoder = _network(voices).teacher.encoder
    first = kept.eer(encoder)
    for path in data.glob("*.wav"):
        path.unlink()
    assert kept.eer(encoder) == first
    with pytest.raises(InputError, match="no such audio file"):
        forgetful.eer(encoder)


#: In each process: weights are equal, statistics of batch norm are not; then a file of the second one's goes.
_WORKER = """
import sys
from pathlib import Path
import torch
from sdpn.config import load_config
from sdpn.training.config import RunConfig
from sdpn.training.distributed import process_group
from sdpn.training.evaluation import Evaluation, EvaluationConfig
from sdpn.training.build import build

data, weights, *settings = sys.argv[1:]
config = load_config(RunConfig, None, settings)
with process_group("cpu", 5.0) as processes:
    encoder = build(config).teacher.encoder
    encoder.load_state_dict(torch.load(weights, weights_only=True))
    if processes.rank:
        for buffer in encoder.buffers():
            buffer.mul_(3)
    for damaged in (False, True):
        trials = EvaluationConfig(data=Path(data), trials=Path(data) / "trials")
        evaluation = Evaluation(
            trials, encoder=config.encoder, features=config.features, processes=processes
        )
        if damaged and processes.first:
            (Path(data) / "13.wav").write_bytes(b"no audio")
        processes.gather(None)
        if not processes.first:
            evaluation.embed_share(encoder)
            continue
        try:
            print("eer", evaluation.eer(encoder), flush=True)
        except Exception as error:
            print(type(error).__name__, error, flush=True)
    assert processes.gather(processes.rank) == [0, 1]  # both are still there
"""


@pytest.mark.slow
def test_two_processes_share_the_work(voices: Path, tmp_path: Path) -> None:
    data = shutil.copytree(voices, tmp_path / "voices")
    (data / "wav.scp").write_text((data / "wav.scp").read_text().replace(str(voices), str(data)))
    (tmp_path / "worker.py").write_text(_WORKER)
    encoder = _network(voices).teacher.encoder
    expected = _telling_trials(voices, encoder, data / "trials")
    torch.save(encoder.state_dict(), tmp_path / "weights.pt")
    result = torchrun(2, str(tmp_path / "worker.py"), str(data), str(tmp_path / "weights.pt"), *_RUN)
    assert result.returncode == 0, result.stderr
    good, bad = [line for line in result.stdout.splitlines() if line.startswith(("eer", "InputError"))]
    assert float(good.split()[1]) == pytest.approx(expected, abs=0.005) and expected < 0.2
    assert bad.startswith(f"InputError {data / '13.wav'}: ")


@pytest.mark.slow
def test_evaluation_by_two_processes_changes_nothing_in_the_run(voices: Path, tmp_path: Path) -> None:
    trials = [f"evaluation.data={voices}", f"evaluation.trials={voices / 'trials'}", "evaluation.every=2"]
    states = []
    for name, settings in (("watched", trials), ("unwatched", [])):
        command = ["-m", "sdpn.cli.main", "train", "--data", str(voices), "--out", str(tmp_path / name)]
        result = torchrun(2, *command, *_RUN, *settings)
        assert result.returncode == 0, result.stderr
        states.append(torch.load(tmp_path / name / "checkpoints/step-00000006/state.pt", weights_only=True))
    for key in ("model", "optimizer", "rng"):
        torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0)
    events = EventAccumulator(str(tmp_path / "watched/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("evaluation/eer")] == [2, 4, 6]


def test_trials_that_cannot_be_scored(voices: Path, tmp_path: Path) -> None:
    (tmp_path / "stranger").write_text("1 u00 u06\n0 u00 nobody\n")
    with pytest.raises(InputError, match="'nobody'"):
        _evaluation(tmp_path / "stranger", voices)
    (tmp_path / "one-sided").write_text("1 u00 u06\n1 u01 u07\n")
    with pytest.raises(InputError, match="non-target"):
        _evaluation(tmp_path / "one-sided", voices)
    with pytest.raises(ValueError, match="must be given together"):
        EvaluationConfig(data=voices)
