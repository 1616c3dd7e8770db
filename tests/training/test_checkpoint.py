"""Checkpoints: whole or absent, newest valid first, never those of another run."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sdpn.errors import InputError
from sdpn.training.checkpoint import CheckpointStore, lock_run

_CONFIG = {"training": {"steps": 10, "seed": 0}, "data": "abc"}


def _store(folder: Path, **changes: Any) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", {**_CONFIG, **changes}, keep=2)


def _state(step: int) -> dict[str, Any]:
    return {"step": step, "tensor": torch.arange(1000) + step}


def test_round_trip_and_the_newest_are_kept(tmp_path: Path) -> None:
    store = _store(tmp_path)
    assert store.load_newest() is None
    for step in (1, 2, 3):
        store.save(step, _state(step))
    state = store.load_newest()
    assert state is not None and state["step"] == 3 and torch.equal(state["tensor"], _state(3)["tensor"])
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-00000002", "step-00000003"]
    meta = json.loads((tmp_path / "checkpoints/step-00000003/meta.json").read_text())
    assert set(meta) == {"format", "step", "sha256", "configuration", "world", "versions"}
    assert set(meta["versions"]) == {"sdpn", "torch", "commit"}


def test_every_nth_is_kept_for_good(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", _CONFIG, keep=1, keep_every=4)
    for step in (2, 4, 6, 8, 10, 12, 14):
        store.save(step, _state(step))
    kept = [int(name.removeprefix("step-")) for name in sorted(os.listdir(tmp_path / "checkpoints"))]
    assert kept == [4, 8, 12, 14]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no meta", "no state"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = _store(tmp_path)
    store.save(1, _state(1))
    store.save(2, _state(2))
    newest = tmp_path / "checkpoints/step-00000002"
    content = (newest / "state.pt").read_bytes()
    if damage == "truncated":
        (newest / "state.pt").write_bytes(content[:100])
    elif damage == "flipped":
        (newest / "state.pt").write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
    elif damage == "no meta":
        (newest / "meta.json").unlink()
    else:
        (newest / "state.pt").unlink()
    with caplog.at_level(logging.WARNING):
        state = store.load_newest()
    assert state is not None and state["step"] == 1
    assert "is damaged" in caplog.text and "step-00000002" in caplog.text
    (tmp_path / "checkpoints/step-00000001/state.pt").unlink()
    with pytest.raises(InputError, match="only damaged checkpoints"):
        store.load_newest()


def test_another_configuration_is_refused_and_its_keys_named(tmp_path: Path) -> None:
    _store(tmp_path).save(1, _state(1))
    other = _store(tmp_path, training={"steps": 10, "seed": 5}, data="xyz")
    with pytest.raises(InputError) as caught:
        other.load_newest()
    assert "training.seed: 0 -> 5" in str(caught.value) and "data: 'abc' -> 'xyz'" in str(caught.value)
    assert "steps" not in str(caught.value)


def test_a_key_that_an_older_version_did_not_have_counts_as_its_default(tmp_path: Path) -> None:
    _store(tmp_path).save(1, _state(1))

    def store(queue: int) -> CheckpointStore:
        new = {**_CONFIG, "sdpn": {"queue": queue}}
        return CheckpointStore(tmp_path / "checkpoints", new, defaults={"sdpn": {"queue": 0}}, keep=2)

    assert store(0).load_newest() is not None
    with pytest.raises(InputError, match=r"sdpn\.queue: 0 -> 8"):
        store(8).load_newest()


def test_a_full_disk_leaves_the_old_checkpoint_and_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store(tmp_path)
    store.save(1, _state(1))

    def fail(_state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="No space left"):
        store.save(2, _state(2))
    monkeypatch.undo()
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000001"]
    state = store.load_newest()
    assert state is not None and state["step"] == 1


def test_two_processes_cannot_hold_one_run(tmp_path: Path) -> None:
    descriptor = lock_run(tmp_path)
    code = (
        "from pathlib import Path; from sdpn.training.checkpoint import lock_run; "
        f"lock_run(Path({str(tmp_path)!r}))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.returncode != 0 and "another run is training" in other.stderr
    os.close(descriptor)
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
