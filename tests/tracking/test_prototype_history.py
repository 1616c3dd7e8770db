"""What is found in training folders, of this project and of 3D-Speaker, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdpn.errors import InputError
from sdpn.tracking.prototype_history import Usage, find_checkpoints, read_history

FIRST = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
SECOND = torch.tensor([[1.0, 1.0], [0.0, 2.0], [1.0, 3.0]])


def steps(path: Path) -> list[int]:
    return [snapshot.step for snapshot in read_history(path).snapshots]


def test_own_checkpoints_begin_at_step_0_though_only_the_last_were_kept(save_own, tmp_path) -> None:
    for step in (200, 1600):
        save_own(step, SECOND * step, initial=FIRST)
    history = read_history(tmp_path / "exp")
    assert (history.source, history.unit, history.skipped, history.notes) == ("sdpn", "step", (), ())
    assert [snapshot.step for snapshot in history.snapshots] == [0, 200, 1600]
    expected = [FIRST, SECOND * 200, SECOND * 1600]
    for snapshot, prototypes_KE in zip(history.snapshots, expected, strict=True):
        assert snapshot.prototypes_KE.dtype == torch.float64
        torch.testing.assert_close(snapshot.prototypes_KE, prototypes_KE.double(), rtol=0, atol=0)


def test_every_way_to_name_a_run_finds_the_same(save_own, tmp_path, monkeypatch) -> None:
    file = save_own(200, SECOND, initial=FIRST)
    for path in (tmp_path / "exp", tmp_path / "exp/checkpoints", file.parent, file):
        assert find_checkpoints(path) == [file]
        assert steps(path) == [0, 200]
    monkeypatch.chdir(file.parent)
    assert steps(Path()) == [0, 200]


def test_an_unfinished_checkpoint_is_none(save_own, tmp_path) -> None:
    save_own(200, SECOND, initial=FIRST)
    (tmp_path / "exp/checkpoints/.step-00000400.x.tmp").mkdir()
    assert steps(tmp_path / "exp") == [0, 200]


def test_a_checkpoint_without_the_prototypes_of_step_0_is_reported(save_own, tmp_path) -> None:
    file = save_own(200, FIRST)
    save_own(400, SECOND)
    history = read_history(tmp_path / "exp")
    assert [snapshot.step for snapshot in history.snapshots] == [200, 400]
    assert len(history.notes) == 1
    assert "has no prototypes of step 0" in history.notes[0] and "step 200" in history.notes[0]
    assert history.usage is None
    assert steps(file) == [200]


def test_usage_is_the_sum_by_its_steps(save_own, tmp_path) -> None:
    save_own(10, SECOND, initial=FIRST, usage=torch.tensor([4.0, 1.0, 0.0]), usage_steps=5)
    save_own(
        20, SECOND, initial=FIRST, usage=torch.zeros(3), usage_steps=0
    )  # a checkpoint right after a look
    usage = read_history(tmp_path / "exp").usage
    assert usage is not None
    assert usage.share_K.tolist() == pytest.approx([0.8, 0.2, 0.0])
    assert (usage.until_step, usage.steps, usage.rows) == (10, 5, 5 * 4 * 2)


def test_the_longer_of_two_windows_of_usage_counts(save_own, tmp_path) -> None:
    last = {"last_usage": torch.tensor([0.5, 0.5, 0.0]), "last_usage_steps": 50}
    save_own(100, SECOND, initial=FIRST, usage=torch.zeros(3), usage_steps=0, **last)
    usage = read_history(tmp_path / "exp").usage
    assert usage is not None and usage.steps == 50
    assert usage.share_K.tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_rows_are_few_below_k_ln_k() -> None:
    shares = torch.full((100,), 0.01)  # 100 ln 100 = 460.5
    assert Usage(shares, 1, 1, 460).is_short
    assert not Usage(shares, 1, 1, 461).is_short
    assert not Usage(shares, 1, 1, None).is_short


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "truncated": (_truncate, "its checksum does not match meta.json"),
    "one bit": (_flip, "its checksum does not match meta.json"),
    "no state": (Path.unlink, "state.pt: No such file or directory"),
    "no meta": (lambda file: file.with_name("meta.json").unlink(), "meta.json no such file"),
    "cut meta": (
        lambda file: file.with_name("meta.json").write_text('{"sha'),
        "meta.json is not a valid JSON document",
    ),
    "empty meta": (
        lambda file: file.with_name("meta.json").write_text("{}"),
        "its checksum does not match meta.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_left_out(save_own, tmp_path, damage) -> None:
    make, reason = DAMAGES[damage]
    for step in (100, 200, 300):
        save_own(step, SECOND, initial=FIRST)
    damaged = tmp_path / "exp/checkpoints/step-00000300/state.pt"
    make(damaged)
    history = read_history(tmp_path / "exp")
    assert [snapshot.step for snapshot in history.snapshots] == [0, 100, 200]
    assert len(history.skipped) == 1
    assert history.skipped[0].startswith(f"{damaged} is damaged")
    assert reason in history.skipped[0]
    for step in (100, 200):
        _truncate(tmp_path / f"exp/checkpoints/step-{step:08d}/state.pt")
    with pytest.raises(InputError, match="none of the 3 checkpoints can be used; the first is"):
        read_history(tmp_path / "exp")
    with pytest.raises(InputError, match=reason) as caught:
        read_history(damaged if damaged.exists() else damaged.parent)
    assert caught.value.path == str(damaged)


def test_prototypes_that_are_no_numbers_are_left_out(save_own, tmp_path) -> None:
    save_own(100, SECOND, initial=FIRST)
    save_own(200, SECOND * float("nan"), initial=FIRST)
    history = read_history(tmp_path / "exp")
    assert [snapshot.step for snapshot in history.snapshots] == [0, 100]
    assert "NaN or infinite values: training has diverged" in history.skipped[0]


def test_3d_speaker_in_the_order_of_epochs(save_theirs, tmp_path) -> None:
    save_theirs("models/checkpoint0000.pth", 1, FIRST)
    save_theirs("models/checkpoint0100.pth", 101, torch.nn.Parameter(SECOND))
    save_theirs("models/checkpoint0010.pth", 11, FIRST * 2)
    save_theirs("models/checkpoint.pth", 150, SECOND * 3)
    for folder in (tmp_path / "theirs", tmp_path / "theirs/models"):
        history = read_history(folder)
        assert (history.source, history.unit, history.skipped) == ("3D-Speaker", "epoch", ())
        assert [snapshot.step for snapshot in history.snapshots] == [1, 11, 101, 150]
        torch.testing.assert_close(history.snapshots[2].prototypes_KE, SECOND.double())
        assert not history.snapshots[2].prototypes_KE.requires_grad
        assert history.usage is None


@pytest.mark.parametrize("epoch", [7, np.int64(7)])
def test_an_epoch_may_be_a_numpy_number(save_theirs, tmp_path, epoch) -> None:
    save_theirs("checkpoint.pth", epoch, FIRST)
    assert steps(tmp_path / "theirs") == [7]


@pytest.mark.parametrize("old", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_of_another_numpy_are_read(save_theirs, old) -> None:
    path = save_theirs("checkpoint.pth", 3, FIRST)
    # the name of the module ends at a line end in pickle protocol 2
    now = np.float64(0).__reduce__()[0].__module__
    _edit_pickle(path, b"c" + now.encode() + b"\n", b"c" + old.encode() + b"\n")
    assert steps(path) == [3]


def _edit_pickle(path: Path, before: bytes, after: bytes) -> None:
    """Replace bytes in the pickle of a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in parts if name.endswith("data.pkl"))
    assert before in parts[name]
    parts[name] = parts[name].replace(before, after)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_tensors_of_a_gpu_are_read_without_one(save_theirs) -> None:
    path = save_theirs("checkpoint.pth", 3, SECOND)
    _edit_pickle(path, b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    with pytest.raises(RuntimeError, match="CUDA"):  # without map_location
        torch.load(path, weights_only=False)
    torch.testing.assert_close(read_history(path).snapshots[0].prototypes_KE, SECOND.double())


def test_files_from_before_zip_are_read(tmp_path) -> None:
    path = tmp_path / "checkpoint0020.pth"
    torch.save({"prototypes": SECOND}, path, _use_new_zipfile_serialization=False)
    assert steps(tmp_path) == [20]


def test_the_same_epoch_twice_counts_once_unless_it_differs(save_theirs, tmp_path) -> None:
    save_theirs("models/checkpoint0149.pth", 150, SECOND)
    save_theirs("models/checkpoint.pth", 150, SECOND)
    assert steps(tmp_path / "theirs") == [150]
    save_theirs("sdpn.pth", 150, FIRST)
    with pytest.raises(InputError, match=r"has other prototypes than .*, but both are at epoch 150"):
        read_history(tmp_path / "theirs")


def test_files_without_prototypes_say_why(save_theirs, tmp_path) -> None:
    path = save_theirs("sdpn.pth", 150, None)
    for name in (path, tmp_path / "theirs"):
        with pytest.raises(
            InputError, match=r"sdpn\.pth: contains no prototypes: some versions of 3D-Speaker"
        ):
            read_history(name)
    save_theirs("models/checkpoint.pth", 20, FIRST)
    history = read_history(tmp_path / "theirs")
    assert [snapshot.step for snapshot in history.snapshots] == [20]
    assert history.skipped[0].startswith(f"{path} contains no prototypes")


def test_a_file_without_an_epoch(save_theirs, tmp_path) -> None:
    path = save_theirs("sdpn.pth", None, FIRST)
    history = read_history(path)
    assert [snapshot.step for snapshot in history.snapshots] == [0]
    assert history.notes == ("sdpn.pth has no epoch: it is shown as 0.",)
    save_theirs("checkpoint0010.pth", None, FIRST)
    history = read_history(tmp_path / "theirs")
    assert [snapshot.step for snapshot in history.snapshots] == [10]
    assert history.skipped == (f"{path} has no epoch, neither inside nor in its name.",)


@pytest.mark.parametrize(
    "prototypes", [torch.zeros(3), torch.zeros(2, 2, dtype=torch.long), torch.zeros(0, 2), {"weight": 1}]
)
def test_prototypes_are_a_matrix(save_theirs, prototypes) -> None:
    path = save_theirs("checkpoint.pth", 1, prototypes)
    with pytest.raises(InputError, match=r"expected a matrix \(K, E\) of real numbers"):
        read_history(path)


def test_runs_are_not_mixed(save_theirs, tmp_path) -> None:
    save_theirs("checkpoint0001.pth", 2, FIRST)
    save_theirs("models/checkpoint0002.pth", 3, torch.ones(5, 2))
    with pytest.raises(InputError, match=r"checkpoints of several runs: .*prototypes \(3, 2\).*\(5, 2\)"):
        read_history(tmp_path / "theirs")


class _Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused(save_theirs, tmp_path, zipped) -> None:
    marker = tmp_path / "it ran"
    save_theirs("checkpoint0000.pth", 1, FIRST)
    path = tmp_path / "theirs" / "checkpoint0010.pth"
    state = {"prototypes": SECOND, "epoch": 11, "optimizer": _Runs(marker)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    for name in (path, tmp_path / "theirs"):
        with pytest.raises(InputError, match=r"refers to posix\.system, .* could execute code") as caught:
            read_history(name)
        assert caught.value.path == str(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the same file does run it where one lets it
    assert marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_is_not_run_either(tmp_path, protocol) -> None:
    marker, path = tmp_path / "it ran", tmp_path / "checkpoint.pth"
    path.write_bytes(pickle.dumps({"prototypes": _Runs(marker)}, protocol=protocol))
    with pytest.raises(InputError):
        read_history(path)
    assert not marker.exists()


def test_what_is_allowed_for_numpy_is_not_left_open(save_theirs) -> None:
    before = set(torch.serialization.get_safe_globals())
    path = save_theirs("checkpoint.pth", 3, FIRST)
    read_history(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("content", [b"", b"hello world\n" * 50, b"PK\x05\x06" + bytes(18), b"\x80\x02."])
def test_what_is_no_checkpoint_is_one_line(tmp_path, content) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged, or was not written by torch\.save") as caught:
        read_history(path)
    assert "\n" not in str(caught.value)


def test_other_files_of_torch_are_not_taken_for_checkpoints(tmp_path) -> None:
    path = tmp_path / "model.pth"
    torch.save({f"layer{index}": FIRST for index in range(9)}, path)
    with pytest.raises(InputError, match=r"is not a training checkpoint: .*\(layer0, .*layer5, …\)"):
        read_history(path)
    torch.save(FIRST, path)
    with pytest.raises(InputError, match="expected a dictionary, found Tensor"):
        read_history(path)


def test_nothing_there(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_history(tmp_path / "absent")
    with pytest.raises(InputError, match="contains no checkpoints"):
        read_history(tmp_path)


def test_a_large_checkpoint_takes_little_memory(tmp_path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"student": {"weight": torch.ones(32, 1024, 1024)}, "prototypes": FIRST, "epoch": 1}, path)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from sdpn.tracking.prototype_history import read_history\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read_history(Path(sys.argv[1]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert path.stat().st_size > 128 * 2**20
    assert int(done.stdout) * 1024 < 32 * 2**20  # Linux counts in KiB


def test_meta_json_is_what_the_store_writes(save_own) -> None:
    meta = json.loads(save_own(5, FIRST).with_name("meta.json").read_text())
    assert {"sha256", "configuration"} <= meta.keys()
