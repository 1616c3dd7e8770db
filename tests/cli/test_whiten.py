"""``sdpn whiten``: a model that may be trained further, and every wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_data_dir
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pretraining import Pretraining, read_pretraining
from sdpn.verification.similarity import unit_rows
from sdpn.verification.storage import read_back_end

_DIM = 4
_CONFIG = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=_DIM, bottleneck=8)


def _folder(path: Path, seed: int, *, distilled: bool = False) -> Path:
    torch.manual_seed(seed)
    model = ModelFolder(Ecapa(_CONFIG, 80).eval(), _CONFIG, FeatureConfig())
    pretraining = Pretraining({}, torch.randn(8, _DIM)) if distilled else None
    save_model(path, model, pretraining=pretraining)
    return path


@pytest.fixture
def model(tmp_path: Path, voices: Path) -> Path:
    """With a back end."""
    folder = _folder(tmp_path / "model", 0, distilled=True)
    command = ["backend", "--model", str(folder), "--data", str(voices), "--cohort-size", "20", "--clean"]
    assert main([*command, "--quiet"]) == 0
    return folder


def _whiten(model: Path, data: Path, out: Path, *options: str) -> int:
    return main(["whiten", "--model", str(model), "--data", str(data), "--out", str(out), *options])


def test_cosines_are_those_in_the_space_of_the_plda(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "whitened", tmp_path / "whiten.json"
    assert _whiten(model, voices, out, "--json", str(figures)) == 0
    assert "whitened" in capsys.readouterr().out
    files = [str(utterance.path) for utterance in read_data_dir(voices)]
    before_ND, after_ND = sdpn.load_model(model).embed(files), sdpn.load_model(out).embed(files)
    within = read_back_end(model).plda.transform_ED
    wanted_ND = before_ND @ within.T
    wanted_NN = unit_rows(wanted_ND) @ unit_rows(wanted_ND).T
    np.testing.assert_allclose(unit_rows(after_ND) @ unit_rows(after_ND).T, wanted_NN, atol=2e-3)
    found = json.loads(figures.read_text())["results"]
    assert sdpn.load_model(out).calibration.get("ahc_threshold") == found.get("ahc_threshold")


def test_distillation_goes_on_from_a_whitened_model(model: Path, voices: Path, tmp_path: Path) -> None:
    """The student's projections are what they were, so that its loss is that of the model before."""
    out = tmp_path / "whitened"
    assert _whiten(model, voices, out) == 0
    assert read_pretraining(out).is_linear_map and not read_pretraining(model).is_linear_map
    losses = []
    for start in (model, out):
        run = tmp_path / f"run-{start.name}"
        sizes = [f"encoder.{key}={getattr(_CONFIG, key)}" for key in ("channels", "aggregation_channels")]
        sizes += [
            f"encoder.embedding_dim={_DIM}",
            "encoder.bottleneck=8",
            "training.steps=1",
            "training.workers=0",
        ]
        crops = ["crops.num_global=0", "crops.local_s=1.0", "training.batch_size=8", "optimizer.lr=1e-6"]
        command = ["train", "--objective", "distill", "--teacher", str(model), "--data", str(voices)]
        settings = [
            *sizes,
            *crops,
            "distill.num_prototypes=8",
            f"initial.model={start}",
            "initial.prototypes=keep",
        ]
        assert main([*command, "--out", str(run), *settings, "--json", str(run) + ".json", "--quiet"]) == 0
        from sdpn.report.events import read_event_log

        scalars = read_event_log(run / "tensorboard").scalars
        losses.append(scalars["loss/cosine"][max(scalars["loss/cosine"])])
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


def test_what_is_refused(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, out = _folder(tmp_path / "bare", 1), tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "wav.scp").write_text("")
    cases = [
        (["--model", str(bare), "--data", str(voices)], "run sdpn backend first"),
        (
            ["--model", str(bare), "--data", str(voices), "--back-end", str(model)],
            "does not belong to the model",
        ),
        (["--model", str(model), "--data", str(voices), "--data", str(voices)], "also in another --data"),
        (["--model", str(model), "--data", str(empty)], "wav.scp"),
        (["--model", str(tmp_path / "none"), "--data", str(voices)], "none"),
    ]
    for options, message in cases:
        assert main(["whiten", "--out", str(out), *options]) == 2, options
        assert message in capsys.readouterr().err, options
        assert not out.exists()
