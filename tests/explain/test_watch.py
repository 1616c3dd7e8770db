"""Maps during training: they are written, and training is what it is without them, resumed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sdpn.errors import InputError
from sdpn.explain.checkpoint_model import read_explained
from sdpn.report.events import read_event_log
from sdpn.training.config import load_run_config
from sdpn.training.pretrain import pretrain
from tests.conftest import TINY

RUN = [
    *TINY,
    "training.steps=6",
    "training.workers=0",
    "training.checkpoint_every=3",
    "training.keep_checkpoints=9",
]


def _train(voices: Path, out: Path, *settings: str) -> dict[str, torch.Tensor]:
    pretrain(load_run_config(None, [*RUN, *settings]), [voices], out)
    return load_file(out / "model/model.safetensors")


@pytest.mark.slow
def test_training_is_the_same_with_maps_and_resumed(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _train(voices, tmp_path / "plain")
    watched = _train(voices, tmp_path / "watched", "training.explain_every=2")
    from sdpn.training import loop

    class Killed(Exception):
        pass

    def killed(self: Any, step: int, state: dict[str, Any]) -> None:
        save(self, step, state)
        if step == 3:
            raise Killed

    save = loop.CheckpointStore.save
    with monkeypatch.context() as patched:
        patched.setattr(loop.CheckpointStore, "save", killed)
        with pytest.raises(Killed):
            _train(voices, tmp_path / "resumed", "training.explain_every=2")
    resumed = _train(voices, tmp_path / "resumed", "training.explain_every=2")
    for name, tensor in plain.items():
        assert torch.equal(tensor, watched[name]), name
        assert torch.equal(tensor, resumed[name]), name
    log = read_event_log(tmp_path / "watched" / "tensorboard")
    maps = {tag: series for tag, series in log.pictures.items() if tag.startswith("explain/")}
    assert len(maps) == 3 and all(sorted(series) == [2, 4, 6] for series in maps.values())
    assert sum(tag.endswith("/deletion") for tag in log.scalars) == 3
    for kind in ("weights", "activations", "gradients"):
        assert any(tag.startswith(f"layers/{kind}/") for tag in log.histograms), kind
    again = read_event_log(tmp_path / "resumed" / "tensorboard").scalars
    for tag, series in log.scalars.items():
        if tag.startswith("explain/"):
            assert again[tag] == series


def test_a_checkpoint_is_a_model(voices: Path, tmp_path: Path) -> None:
    _train(voices, tmp_path)
    exported = read_explained(tmp_path / "model")
    stored = read_explained(tmp_path / "checkpoints" / "step-00000006")
    wave = voices / "00.wav"
    assert (exported.embedder.embed(wave) == stored.embedder.embed(wave)).all()
    assert exported.pretraining is not None and stored.pretraining is not None
    assert torch.equal(exported.pretraining.prototypes, stored.pretraining.prototypes)
    step = tmp_path / "checkpoints" / "step-00000006"
    student = read_explained(step, student=True)
    assert student.name.endswith("step-00000006 student")
    assert not (student.embedder.embed(wave) == stored.embedder.embed(wave)).all()
    with pytest.raises(InputError, match="has no student"):
        read_explained(tmp_path / "model", student=True)
    early = read_explained(tmp_path / "checkpoints" / "step-00000003")
    assert not (early.embedder.embed(wave) == stored.embedder.embed(wave)).all()
