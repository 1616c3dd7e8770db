"""EER while training is the EER of the exported model; it changes nothing in the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.errors import InputError
from sdpn.training.config import RunConfig
from sdpn.training.evaluation import Evaluation, EvaluationConfig
from sdpn.training.pretrain import pretrain
from tests.conftest import TINY

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
    return Evaluation(config, encoder=run.encoder, features=run.features)


def test_trials_that_cannot_be_scored(voices: Path, tmp_path: Path) -> None:
    (tmp_path / "stranger").write_text("1 u00 u06\n0 u00 nobody\n")
    with pytest.raises(InputError, match="'nobody'"):
        _evaluation(tmp_path / "stranger", voices)
    (tmp_path / "one-sided").write_text("1 u00 u06\n1 u01 u07\n")
    with pytest.raises(InputError, match="non-target"):
        _evaluation(tmp_path / "one-sided", voices)
    with pytest.raises(ValueError, match="must be given together"):
        EvaluationConfig(data=voices)
