"""Folders of mel features: what is read, what is refused and by which name, segments, padded batches."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdpn.data.mel_folder import (
    MelReader,
    MelSegments,
    padded_batches,
    read_mel,
    read_mel_folder,
    read_mel_test,
    write_mel_folder,
)
from sdpn.data.sampler import Mixture
from sdpn.errors import InputError


def _mel(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    training = [("id2", _mel(9, 0)), ("id1", _mel(30, 1)), ("id2", _mel(12, 2)), ("id1", _mel(5, 3))]
    write_mel_folder(tmp_path, training, [_mel(7, 4)], num_mels=4)
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    mels = read_mel_folder(folder)
    assert mels.names == ("id1", "id2") and mels.num_mels == 4
    assert [mels.class_of[one.id] for one in mels.utterances] == ["id1", "id1", "id2", "id2"]
    reader = MelReader(mels, cache_mb=0)
    assert np.array_equal(reader.read(mels.utterances[0]), _mel(30, 1))
    test = read_mel_test(folder)
    assert [one.id for one in test.utterances] == ["uttr-000004.pt"] and not test.names
    assert np.array_equal(MelReader(test, cache_mb=1).read(test.utterances[0]), _mel(7, 4))


def test_the_layout_is_that_of_the_exercise(folder: Path) -> None:
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["n_mels"] == 4
    assert metadata["speakers"]["id1"][0] == {"feature_path": "uttr-000001.pt", "mel_len": 30}
    mapping = json.loads((folder / "mapping.json").read_text())
    assert mapping == {"speaker2id": {"id1": 0, "id2": 1}, "id2speaker": {"0": "id1", "1": "id2"}}
    test = json.loads((folder / "testdata.json").read_text())
    assert test == {"n_mels": 4, "utterances": [{"feature_path": "uttr-000004.pt", "mel_len": 7}]}


class _Runs:
    """Its unpickling would make a file: a sign that something in a file was executed."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> Any:
        return Path.touch, (self.sign,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    torch.save(_Runs(sign), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(_Runs(sign)))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(InputError, match=rf"{name}: is not a tensor that torch\.save wrote"):
            read_mel(tmp_path / name, num_mels=4)
    assert not sign.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)  # the sign would have been there
    assert sign.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mel": torch.zeros(3, 4)}, "expected a tensor of floating-point numbers, found dict"),
        (torch.zeros(3, 4, dtype=torch.int64), "found a tensor of torch.int64"),
        (torch.zeros(12), r"expected features of shape \(frames, 4\), found \(12,\)"),
        (torch.zeros(4, 3), r"found \(4, 3\)"),
        (torch.zeros(0, 4), r"found \(0, 4\)"),
        (torch.tensor([[0.0, 1, 2, 3], [0, 1, torch.nan, 3]]), "NaN or infinite features, first in frame 1"),
        (torch.tensor([[0.0, 1, -torch.inf, 3]]), "NaN or infinite features, first in frame 0"),
        (torch.zeros(3, 4).to_sparse(), "found a tensor"),
        (torch.zeros(3, 4, device="meta"), "found a tensor"),
        (torch.nested.nested_tensor([torch.zeros(3, 4)]), r"x\.pt"),
        (torch.zeros(3, 4, dtype=torch.complex64), "found a tensor of torch.complex64"),
        (
            torch.tensor([[0.0, 1e300, 2, 3]], dtype=torch.float64),
            "NaN or infinite features, first in frame 0",
        ),
    ],
)
def test_a_file_that_holds_something_else(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match=message) as caught:
        read_mel(tmp_path / "x.pt", num_mels=4)
    assert str(caught.value).startswith(str(tmp_path / "x.pt"))


def test_tensors_of_other_kinds_that_hold_features(tmp_path: Path) -> None:
    values = torch.arange(12.0).reshape(3, 4)
    for tensor in (
        values.half(),
        values.double(),
        values.clone().requires_grad_(),
        torch.nn.Parameter(values),
        values.T.contiguous().T,
    ):
        torch.save(tensor, tmp_path / "x.pt")
        assert np.array_equal(read_mel(tmp_path / "x.pt", num_mels=4), values.numpy())


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_mel(tmp_path, num_mels=4)


@pytest.mark.parametrize("content", [b"", b"not a tensor", b"PK\x03\x04 cut", bytes(range(256))])
def test_a_file_of_other_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pt"):
        read_mel(tmp_path / "x.pt", num_mels=4)


def test_a_length_that_the_list_denies(folder: Path) -> None:
    mels = read_mel_folder(folder)
    torch.save(torch.zeros(8, 4), mels.utterances[0].path)
    with pytest.raises(InputError, match=r"expected features of shape \(30, 4\), found \(8, 4\)"):
        MelReader(mels, cache_mb=0).read(mels.utterances[0])
    mels.utterances[0].path.unlink()
    with pytest.raises(InputError, match="no such file of features"):
        MelReader(mels, cache_mb=0).read(mels.utterances[0])


def _change(file: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        document = json.loads((folder / file).read_text())
        change(document)
        (folder / file).write_text(json.dumps(document))

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _change("metadata.json", lambda d: d["speakers"].update(id9=d["speakers"].pop("id2"))),
            "disagrees with metadata.json about the speakers: 'id9' is only in metadata.json",
        ),
        (
            _change("metadata.json", lambda d: d["speakers"].pop("id2")),
            "disagrees with metadata.json about the speakers: 'id2' is only in mapping.json",
        ),
        (
            _change("mapping.json", lambda d: d["id2speaker"].update({"0": "id2"})),
            "contradicts itself: 'id1' is number 0, and number 0 is 'id2'",
        ),
        (_change("mapping.json", lambda d: d["speaker2id"].update(id1=5)), "expected the numbers 0 to 1"),
        (_change("mapping.json", lambda d: d.pop("id2speaker")), "has no sections"),
        (_change("metadata.json", lambda d: d.pop("n_mels")), "'n_mels' is None"),
        (_change("metadata.json", lambda d: d.update(speakers=[])), "has no section 'speakers'"),
        (_change("metadata.json", lambda d: d["speakers"].update(id1=3)), "list of utterances of 'id1'"),
        (_change("metadata.json", lambda d: d["speakers"].update(id1=[{}])), "expected {'feature_path'"),
        (
            _change("metadata.json", lambda d: d["speakers"].update(id1=d["speakers"]["id2"])),
            "contains 'uttr-000000.pt' twice",
        ),
        (
            _change("metadata.json", lambda d: d["speakers"]["id1"][0].update(feature_path="../x.pt")),
            "lies outside the folder",
        ),
        (lambda folder: (folder / "mapping.json").unlink(), "mapping.json: no such file"),
        (lambda folder: (folder / "metadata.json").write_text("{"), "not a valid list of mel features"),
    ],
)
def test_lists_that_cannot_be_used(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(InputError) as caught:
        read_mel_folder(folder)
    assert message in str(caught.value)


def test_segments_are_stretches_of_their_utterance(folder: Path) -> None:
    mels = read_mel_folder(folder)
    segments = MelSegments(
        MelReader(mels, cache_mb=1), mels.utterances, Mixture((4,)), num_frames=8, views=2, seed=3
    )
    batch, faults = segments.collate(segments.__getitems__([(0, 0), (5, 1)]))
    assert batch.local_VBS.shape == (2, 2, 4, 8) and not faults and len(batch.global_GBS) == 0
    long = MelReader(mels, cache_mb=0).read(mels.utterances[0])
    starts = [
        first for first in range(23) if np.array_equal(long[first : first + 8], batch.local_VBS[0, 0].T)
    ]
    assert len(starts) == 1
    short = MelReader(mels, cache_mb=0).read(mels.utterances[1])  # five frames, repeated
    assert np.array_equal(batch.local_VBS[1, 1].T, np.concatenate([short, short[:3]]))
    again, _ = segments.collate(segments.__getitems__([(0, 0), (5, 1)]))
    assert torch.equal(batch.local_VBS, again.local_VBS)
    other, _ = segments.collate(segments.__getitems__([(1, 0), (5, 1)]))
    assert not torch.equal(batch.local_VBS[:, 0], other.local_VBS[:, 0])


def test_every_start_of_a_segment_occurs(folder: Path) -> None:
    mels = read_mel_folder(folder)
    segments = MelSegments(
        MelReader(mels, cache_mb=1), mels.utterances, Mixture((4,)), num_frames=8, views=1, seed=0
    )
    long = MelReader(mels, cache_mb=0).read(mels.utterances[0])
    first = {float(views[0, 0, 0]) for views, _ in segments.__getitems__([(n, 0) for n in range(400)])}
    assert first == {float(value) for value in long[:23, 0]}


def test_padded_batches_hold_every_utterance_once(folder: Path) -> None:
    mels = read_mel_folder(folder)
    reader = MelReader(mels, cache_mb=1)
    seen = []
    for batch, lengths, chosen in padded_batches(reader.read, mels.utterances, frames=24):
        assert len(chosen) == 1 or len(chosen) * int(lengths.max()) <= 24
        for row, index in enumerate(chosen):
            mel = reader.read(mels.utterances[index])
            assert np.array_equal(batch[row, :, : lengths[row]].T, mel)
            assert not batch[row, :, lengths[row] :].any()
            seen.append(int(index))
    assert sorted(seen) == [0, 1, 2, 3]
