"""What a run trains on is what its data directories hold, without speakers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.training.data import read_training_data
from tests.data.test_utterance_table import data_dir


def test_training_data_is_what_the_directories_hold(tmp_path: Path) -> None:
    folders = [data_dir(tmp_path / name, prefix=name) for name in "pq"]
    table, mixture = read_training_data(folders, (1.0, 2.0))
    assert list(table) == [replace(one, speaker=None) for folder in folders for one in read_data_dir(folder)]
    assert mixture.sizes == (2, 2)
    with pytest.raises(InputError, match=r"'p1' is also in another --data directory"):
        read_training_data([folders[0], folders[0]])
    (folders[1] / "utt2spk").write_text("q1 s\nq9 s\nq8 s\n")
    for read in (lambda: read_data_dir(folders[1]), lambda: read_training_data(folders)):
        with pytest.raises(InputError, match=r"'q8' is not in wav.scp or segments \(2 such\)"):
            read()
