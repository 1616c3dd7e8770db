"""training.shuffle_buffer: shards are read in order, and a run resumes bit for bit; cuts train, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from lhotse import CutSet, Recording

from sdpn.config import load_config
from sdpn.data.pack import pack
from sdpn.data.utterance_table import UtteranceTable
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.training.config import RunConfig
from sdpn.training.pretrain import pretrain
from tests.conftest import TINY


def _train(data: Path, out: Path, *settings: str) -> dict[str, torch.Tensor]:
    more = ["training.steps=6", "training.workers=0", "training.checkpoint_every=3", "training.seed=2"]
    pretrain(load_config(RunConfig, None, [*TINY, *more, *settings]), [data], out)
    state = torch.load(out / "checkpoints/step-00000006/state.pt", weights_only=True)
    return {name: value for name, value in state["model"].items() if torch.is_tensor(value)}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_that_reads_shards_in_order_resumes_bit_for_bit(voices: Path, tmp_path: Path) -> None:
    pack([voices], tmp_path / "pack", shard_bytes=200_000)
    starts = UtteranceTable(read_data_dir(tmp_path / "pack")).shard_starts()
    assert len(starts) > 3
    whole = _train(tmp_path / "pack", tmp_path / "whole", "training.shuffle_buffer=4")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again/checkpoints/step-00000006")
    assert _same(_train(tmp_path / "pack", tmp_path / "again", "training.shuffle_buffer=4"), whole)
    assert not _same(_train(tmp_path / "pack", tmp_path / "everywhere"), whole)
    with pytest.raises(InputError, match=r"training\.shuffle_buffer: 4 -> 5"):
        _train(tmp_path / "pack", tmp_path / "again", "training.shuffle_buffer=5")


def test_cuts_of_lhotse_train_as_their_files_do(voices: Path, tmp_path: Path) -> None:
    utterances = read_data_dir(voices)
    made = [Recording.from_file(one.path, recording_id=one.id).to_cut() for one in utterances]
    cuts = [cut.with_id(one.id) for cut, one in zip(made, utterances, strict=True)]
    CutSet.from_items(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    by_cuts = _train(tmp_path / "cuts.jsonl.gz", tmp_path / "cuts")
    assert _same(by_cuts, _train(voices, tmp_path / "files"))
