"""A whole adaptation, small: what is written, that it goes on, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from sdpn.adaptation.adapt import Sources, adapt
from sdpn.adaptation.config import AdaptConfig
from sdpn.adaptation.segments import find_recordings
from sdpn.config import load_config
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.models.folder import read_model
from sdpn.models.pretraining import read_pretraining

SMALL = [
    *("training.steps=3", "training.batch_size=4", "training.workers=0", "training.precision=fp32"),
    *("training.log_every=2", "crops.global_s=1.0", "crops.local_s=0.5", "crops.num_local=2"),
    "optimizer.warmup_steps=1",
]


def _adapt(
    base: Path, calls: Path, folder: Path, *settings: str, rehearse: Path | None = None
) -> dict[str, Any]:
    config = load_config(AdaptConfig, None, [*SMALL, *settings])
    sources = Sources(base, find_recordings(calls, []), rehearse)
    nothing: Any = lambda *_: None  # noqa: E731
    return adapt(
        config, sources, work=folder / "work", out=folder / "out", on_training=nothing, on_work=nothing
    )


@pytest.mark.slow
def test_adaptation_with_rehearsal(base: Path, calls: Path, voices: Path, tmp_path: Path) -> None:
    results = _adapt(base, calls, tmp_path, rehearse=voices)
    held = {entry.path for entry in read_data_dir(tmp_path / "work/target_held_out")}
    trained = {entry.path for entry in read_data_dir(tmp_path / "work/target")}
    assert len(held) == 2 and len(trained) == 6 and not held & trained
    assert results["segments"] == 36 and results["held_out_s"] == 48.0
    assert results["rehearsed_utterances"] == 18
    assert len(read_data_dir(tmp_path / "work/old_held_out")) == 6
    model = read_model(tmp_path / "out")
    assert model.source["adaptation"]["kept"] == results["kept"]
    assert model.source["adapted_from"]["steps"] == 2
    assert read_pretraining(tmp_path / "out").prototypes.shape == (10, 8)
    # it can be adapted in turn
    assert _adapt(tmp_path / "out", calls, tmp_path / "again", "training.steps=0")["kept"] == "old"


def test_nothing_learned_leaves_the_old_weights(base: Path, calls: Path, tmp_path: Path) -> None:
    results = _adapt(base, calls, tmp_path, "training.steps=0", "mixture.blend=1", "verdict.fewest_scenes=2")
    assert results["kept"] == "old"
    assert [comparison["gain"] for comparison in results["comparisons"]] == [0.0, 0.0]
    for name in ("model.safetensors", "pretraining.safetensors"):
        before, after = load_file(base / name), load_file(tmp_path / "out" / name)
        assert before.keys() == after.keys()
        assert all(before[key].equal(after[key]) for key in before)


def _check_blended_by_half(base: Path, tmp_path: Path) -> None:
    old, trained, adapted = (
        load_file(folder / "model.safetensors")
        for folder in (base, tmp_path / "work/training/model", tmp_path / "work/adapted")
    )
    for key, value in adapted.items():
        if value.is_floating_point():
            assert value.allclose((old[key] + trained[key]) / 2, atol=1e-6), key


def test_the_same_call_goes_on_and_another_is_refused(base: Path, calls: Path, tmp_path: Path) -> None:
    first = _adapt(base, calls, tmp_path)
    assert first["blend"] == 0.5  # there is no rehearsal
    _check_blended_by_half(base, tmp_path)
    shutil.rmtree(tmp_path / "out")
    assert _adapt(base, calls, tmp_path) == first
    assert _adapt(base, calls, tmp_path, "verdict.fewest_scenes=99")["kept"] == "old"
    assert _adapt(base, calls, tmp_path, "mixture.blend=1")["blend"] == 1.0
    with pytest.raises(InputError, match="optimizer"):
        _adapt(base, calls, tmp_path, "optimizer.lr=0.1")
    with pytest.raises(InputError, match=r"another adaptation: different mixture\.held_out"):
        _adapt(base, calls, tmp_path, "mixture.held_out=0.5")


def test_a_model_without_prototypes_is_refused(base: Path, calls: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "bare")
    (tmp_path / "bare/pretraining.safetensors").unlink()
    with pytest.raises(InputError, match="neither a projection head nor prototypes"):
        _adapt(tmp_path / "bare", calls, tmp_path)


def test_few_recordings_are_divided_by_scenes(base: Path, calls: Path, tmp_path: Path) -> None:
    """One recording of 24 s is a single scene: there is nothing to hold out."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"call0 {calls / '0.wav'}\n")
    (data / "segments").write_text("call0-0 call0 0.0 24.0\n")
    with pytest.raises(InputError, match="in 1 recordings"):
        _adapt(base, data, tmp_path)
