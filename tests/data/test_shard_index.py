"""sdpn.data.shard_index: shards of webdataset's writer are read in place; what a set lacks is named."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from sdpn.cli.main import main
from sdpn.data.pack import pack
from sdpn.data.shard_index import _SAMPLE, index_shards, uneven
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from tests.conftest import write_noise


def _wave(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    return np.round(rng.uniform(-0.5, 0.5, 1600) * 32767).astype(np.int16)


def _flac(number: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, _wave(number), 16000, format="FLAC")
    return buffer.getvalue()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Ten samples in three shards, as webdataset writes them."""
    folder = tmp_path / "shards"
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "speech-%03d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(10):
            about = {"speaker": f"s{number % 3}"}
            writer.write(
                {"__key__": f"dev/utt{number}", "json": about, "flac": _flac(number), "txt": "hello"}
            )
    return folder


def test_shards_of_webdataset_are_read_in_place(shards: Path, tmp_path: Path) -> None:
    before = {path: (path.stat().st_mode, path.read_bytes()) for path in shards.iterdir()}
    done = index_shards([shards], tmp_path / "data")
    assert (done.num_utterances, done.num_speakers, done.skipped) == (10, 3, [])
    assert done.sizes == {"speech-000.tar": 4, "speech-001.tar": 4, "speech-002.tar": 2}
    utterances = read_data_dir(tmp_path / "data")
    assert [one.id for one in utterances] == [f"dev-utt{number}" for number in range(10)]
    assert [one.speaker for one in utterances] == [f"s{number % 3}" for number in range(10)]
    for number, one in enumerate(utterances):
        np.testing.assert_array_equal(one.read(), _wave(number).astype(np.float32) / 32768)
    assert {path: (path.stat().st_mode, path.read_bytes()) for path in shards.iterdir()} == before
    assert stat.S_IMODE((tmp_path / "data/wav.scp").stat().st_mode) & 0o400


def test_webdataset_reads_our_shards(tmp_path: Path) -> None:
    pack([write_noise(tmp_path / "noise", 3, num_samples=1600)], tmp_path / "pack")
    reader = webdataset.WebDataset(str(tmp_path / "pack/shard-000000.tar"), shardshuffle=False)
    samples = list(reader)
    assert [json.loads(sample["json"])["id"] for sample in samples] == ["u0", "u1", "u2"]
    for sample, one in zip(samples, read_data_dir(tmp_path / "noise"), strict=True):
        wave, _ = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        np.testing.assert_array_equal(wave, one.read())
    index = index_shards([tmp_path / "pack"], tmp_path / "again")
    assert index.num_utterances == 3
    assert [one.id for one in read_data_dir(tmp_path / "again")] == ["u0", "u1", "u2"]


@given(st.text(alphabet="ab./é ", min_size=1, max_size=12))
def test_names_are_split_as_webdataset_splits_them(name: str) -> None:
    match = _SAMPLE.fullmatch(name)
    expected = base_plus_ext(name)
    if match is not None:  # hidden files are no samples to us
        assert (match[1], match[2]) == expected
    elif expected[0]:
        assert expected[0].rpartition("/")[2] == ""


def _damage(shards: Path, how: str) -> None:
    second = shards / "speech-001.tar"
    if how == "missing":
        second.unlink()
    elif how == "twice":
        shutil.copy(second, shards / "speech-003.tar")
    elif how == "overlap":
        with tarfile.open(second, "a") as tar, tarfile.open(shards / "speech-000.tar") as other:
            for member in other.getmembers()[:3]:
                tar.addfile(member, other.extractfile(member))
    elif how == "cut in a file":
        second.write_bytes(second.read_bytes()[:4000])
    elif how == "cut between files":
        with tarfile.open(second) as tar:
            end = tar.getmembers()[3].offset
        second.write_bytes(second.read_bytes()[:end])
    elif how == "no tar":
        second.write_bytes(b"hello" * 300)
    elif how == "empty":
        second.write_bytes(b"")
    elif how == "compressed":
        for path in shards.glob("*.tar"):
            path.rename(path.with_suffix(".tar.gz"))
    elif how == "no audio":
        with tarfile.open(second, "a") as tar:
            tar.addfile(tarfile.TarInfo("utt99.txt"), io.BytesIO())
    else:
        raise AssertionError(how)


@pytest.mark.parametrize(
    ("how", "where", "message"),
    [
        ("missing", "", "these shards are missing: speech-001.tar"),
        (
            "twice",
            "speech-003.tar",
            "holds the same utterances as .*speech-001.tar: is one shard there twice",
        ),
        ("overlap", "speech-001.tar", "holds the utterance 'dev-utt0', which is also in .*speech-000.tar"),
        ("cut in a file", "speech-001.tar", "is truncated|unexpected end of data"),
        ("cut between files", "speech-001.tar", "is truncated: it stops at byte"),
        ("no tar", "speech-001.tar", "is not a valid tar shard"),
        ("empty", "speech-001.tar", "is not a valid tar shard"),
        ("compressed", "", "has no tar shards .*speech-000.tar.gz is compressed"),
        ("no audio", "speech-001.tar", "sample 'utt99' has no recordings; expected one"),
    ],
)
def test_a_set_that_is_not_whole(shards: Path, tmp_path: Path, how: str, where: str, message: str) -> None:
    _damage(shards, how)
    with pytest.raises(InputError, match=message) as caught:
        index_shards([shards], tmp_path / "data")
    assert str(caught.value).startswith(f"{shards / where}: ")
    assert not (tmp_path / "data").exists() and not list(tmp_path.glob(".data*"))


def test_what_is_missing_can_be_left_out(shards: Path, tmp_path: Path) -> None:
    _damage(shards, "no audio")
    (shards / "speech-000.tar").rename(shards / "speech-009.tar")
    done = index_shards([shards], tmp_path / "data", skip_bad=True)
    assert done.num_utterances == 10 and len(done.skipped) == 7
    assert any("speech-003.tar: this shard is missing" in line for line in done.skipped)


def test_shards_of_unequal_size_are_named() -> None:
    assert uneven({"0.tar": 10, "1.tar": 10, "2.tar": 1}) is None  # the rest
    assert uneven({"0.tar": 10}) is None
    line = uneven({"0.tar": 10, "1.tar": 3, "2.tar": 10})
    assert line == "shards of unequal size: from 3 utterances (1.tar) to 10 (0.tar)"


def test_the_command(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    assert main(["pack", "--index", "--data", str(shards), "--out", str(out), "--quiet"]) == 0
    assert "10 utterances in 3 shards, not copied" in capsys.readouterr().out
    assert main(["pack", "--index", "--data", str(shards), "--out", str(out), "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err
    # a shard that disappears later is found before the work, as in any pack
    (shards / "speech-001.tar").unlink()
    with pytest.raises(InputError, match="this shard of the packed speech is missing"):
        read_data_dir(out)
    with pytest.raises(InputError, match="sdpn pack --index"):
        read_data_dir(shards)
