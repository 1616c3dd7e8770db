"""Runs of the segmentation objective: from recordings of speakers to a network that diarizes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.interop.load import load_model
from sdpn.interop.segmentation import load_segmentation
from sdpn.models.segmentation_folder import save_segmentation
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.training.segmentation_evaluation import frame_figures
from tests.distill.test_segmentation import TINY as NETWORK
from tests.training.speech_table import write_speech

_SETTINGS = [
    "--objective=segmentation",
    *(f"segmentation.network.{name}" for name in ("channels=8", "dilations=[1, 2]", "hidden=6", "linear=6")),
    *("segmentation.network.num_layers=1", "segmentation.network.features.num_mels=12"),
    *("segmentation.window_s=3.0", "segmentation.max_cast=2", "segmentation.validation_windows=4"),
    *("training.batch_size=4", "training.precision=fp32", "training.log_every=2", "training.watch_every=4"),
    *("training.checkpoint_every=3", "evaluation.every=4", "optimizer.warmup_steps=2", "guards.window=0"),
]


def train(data: Path, out: Path, *settings: str) -> int:
    if not (out / "speech").is_dir():
        write_speech(data, out / "speech")
    return main(["train", "--data", str(data), "--out", str(out), "--quiet", *_SETTINGS, *settings])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_segmentation(folder).network.state_dict()


@pytest.fixture(scope="module")
def trained(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("segmentation") / "exp"
    assert train(voices, out, "training.steps=8", "training.workers=0") == 0
    return out


def test_what_a_run_writes(trained: Path) -> None:
    document = yaml.safe_load((trained / "model" / "config.yaml").read_text())
    assert (document["format"], document["window_s"]) == (1, 3.0)
    assert document["source"]["objective"] == "segmentation" and document["source"]["steps"] == 8
    segmenter = load_segmentation(trained / "model")
    assert (segmenter.window_samples, segmenter.num_frames, segmenter.num_speakers) == (48_000, 149, 3)
    active_BTL, together_BTM = segmenter.activities(np.zeros((2, 48_000), np.float32))
    assert active_BTL.shape == (2, 149, 3) and together_BTM.shape == (2, 149, 2)
    # at least one speaks wherever two do
    assert (together_BTM[..., 0] >= together_BTM[..., 1]).all()


def test_dashboard(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    errors = {f"evaluation/{name}" for name in ("frame_error", "der", "missed", "false_alarm", "confusion")}
    assert {"loss/total", "loss/ce", "loss/frame_error", "train/audio_hours_per_hour", *errors} <= tags
    assert [event.step for event in board.Scalars("evaluation/der")] == [4, 8]
    parts = [board.Scalars(f"evaluation/{name}")[-1].value for name in ("missed", "false_alarm", "confusion")]
    assert board.Scalars("evaluation/der")[-1].value == pytest.approx(sum(parts), abs=1e-6)


def test_a_stopped_run_is_resumed_bit_for_bit(
    trained: Path, voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdpn.training import loop

    class Killed(Exception):
        pass

    real = loop.Trainer._is_late
    calls: list[int] = []

    def late(self: Any, saved_at: float) -> bool:
        calls.append(1)
        if len(calls) == 6:  # two steps after the checkpoint of step 3
            raise Killed
        return real(self, saved_at)

    monkeypatch.setattr(loop.Trainer, "_is_late", late)
    with pytest.raises(Killed):
        train(voices, tmp_path / "exp", "training.steps=8", "training.workers=0", "--debug")
    monkeypatch.undo()
    assert train(voices, tmp_path / "exp", "training.steps=8", "training.workers=2") == 0
    again = weights(tmp_path / "exp" / "model")
    for key, value in weights(trained / "model").items():
        assert torch.equal(value, again[key]), key


def test_settings_of_other_objectives(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for setting, message in (
        ("training.accumulate=2", "needs training.accumulate=1"),
        ("initial.model=nothing", "nothing: no such segmentation network"),
        ("evaluation.data=nothing evaluation.trials=nothing", "evaluation.data is not used"),
    ):
        assert train(voices, tmp_path / "exp", "training.steps=1", *setting.split()) == 2
        assert message in capsys.readouterr().err


def test_a_run_that_starts_from_a_network(trained: Path, voices: Path, tmp_path: Path) -> None:
    """Its sizes need not be given; without a step, it is the same network."""
    out = tmp_path / "exp"
    write_speech(voices, out / "speech")
    command = ["train", "--data", str(voices), "--out", str(out), "--quiet", "--objective=segmentation"]
    small = ["segmentation.max_cast=2", "segmentation.validation_windows=2", "training.batch_size=4"]
    assert main([*command, "--init", str(trained / "model"), *small, "training.steps=0"]) == 0
    again = weights(out / "model")
    assert all(torch.equal(value, again[key]) for key, value in weights(trained / "model").items())
    assert main([*command, "--init", str(trained / "model"), *small, "segmentation.network.hidden=9"]) == 2


def test_utterances_without_speakers(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copyfile(voices / "wav.scp", data / "wav.scp")
    assert train(data, tmp_path / "exp", "training.steps=1") == 2
    assert "utt2spk: does not say who speaks in 'u00'" in capsys.readouterr().err


def test_too_few_speakers(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(voices, tmp_path / "exp", "training.steps=1", "segmentation.max_cast=4") == 2
    assert "have 6 speakers with speech; a segmentation network needs 8" in capsys.readouterr().err


def test_networks_in_the_wrong_place(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a segmentation network") as caught:
        load_model(trained / "model")
    assert "--segmentation" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a folder without a segmentation network"):
        load_segmentation(tmp_path / "empty")
    shutil.copytree(trained / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"incomplete: it has no model\.safetensors"):
        load_segmentation(tmp_path / "model")
    save_segmentation(tmp_path / "other", SegmentationNet(NETWORK), window_s=3.0, source={})
    shutil.copyfile(tmp_path / "other" / "model.safetensors", tmp_path / "model" / "model.safetensors")
    with pytest.raises(InputError, match="does not match the configuration beside it"):
        load_segmentation(tmp_path / "model")


def test_half_precision(tmp_path: Path) -> None:
    network = SegmentationNet(NETWORK).eval()
    for half in (False, True):
        save_segmentation(tmp_path / str(half), network, window_s=2.0, source={}, half=half)
    whole, half_ = (load_segmentation(tmp_path / str(half)) for half in (False, True))
    assert whole.digest == half_.digest
    wave_BS = np.random.default_rng(0).standard_normal((1, 32_000)).astype(np.float32)
    np.testing.assert_allclose(whole.log_probabilities(wave_BS), half_.log_probabilities(wave_BS), atol=0.02)


def test_figures_by_hand() -> None:
    # truth: speaker 1 for four frames, both for two, silence for two; the network has the speakers swapped
    truth_T = torch.tensor([1, 1, 1, 1, 4, 4, 0, 0])
    found_T = torch.tensor([2, 2, 3, 0, 4, 2, 0, 2])
    log_p_TC = torch.full((8, 7), -9.0)
    log_p_TC[torch.arange(8), found_T] = -0.01
    figures = frame_figures([(log_p_TC[None], truth_T[None])], 3, 2)
    assert {name.partition("/")[2]: round(value, 6) for name, value in figures.items()} == {
        "frame_error": 4 / 8,
        "missed": 2 / 8,  # of 8 frames of speaker time: one frame of speaker 1, one of the overlap
        "false_alarm": 1 / 8,
        "confusion": 1 / 8,
        "der": 4 / 8,
        "overlap_recall": 1 / 2,
        "overlap_precision": 1.0,
    }
