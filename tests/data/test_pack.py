"""sdpn.data.pack: the samples of the data directories bit for bit, in files that others can read."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from sdpn.data.pack import MB, pack
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from tests.conftest import write_noise
from tests.io.encoding import encode, speechlike

#: Subtypes of libsndfile, and what holds them in a pack.
_WAVS = {
    "PCM_U8": ("PCM_S8", ".flac"),
    "PCM_16": ("PCM_16", ".flac"),
    "PCM_24": ("PCM_24", ".flac"),
    "ULAW": ("PCM_16", ".flac"),
    "ALAW": ("PCM_16", ".flac"),
    "PCM_32": ("PCM_32", ".wav"),
    "FLOAT": ("FLOAT", ".wav"),
    "DOUBLE": ("DOUBLE", ".wav"),
}


def _same(before: list[Utterance], after: list[Utterance]) -> None:
    assert [(u.id, u.speaker) for u in before] == [(u.id, u.speaker) for u in after]
    for one, other in zip(before, after, strict=True):
        assert one.num_samples() == other.num_samples(), one.id
        np.testing.assert_array_equal(one.read(), other.read(), err_msg=one.id)
        np.testing.assert_array_equal(one.read_range(77, 3000), other.read_range(77, 3000), err_msg=one.id)


def _members(pack: Path) -> dict[str, bytes]:
    """Files of all shards, by Python's own reader."""
    found = {}
    for shard in sorted(pack.glob("shard-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None and member.mtime == 0
                found[member.name] = stream.read()
    return found


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Whole files of many kinds, some at other rates and with two channels."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    utterances = []
    for index, subtype in enumerate(_WAVS):
        rate_hz, channels = [(16000, 1), (8000, 1), (44100, 2)][index % 3]
        path = folder / f"{subtype}.wav"
        soundfile.write(path, speechlike(rate_hz, 1.3, channels).T, rate_hz, subtype=subtype)
        utterances.append(Utterance(f"wav.{subtype}/é", path, speaker=f"s{index % 2}"))
    for suffix, codec in (("opus", "libopus"), ("mp3", "mp3"), ("m4a", "aac")):
        encode(folder / f"x.{suffix}", codec, speechlike(48000, 1.3), 48000)
        utterances.append(Utterance(suffix, folder / f"x.{suffix}"))
    soundfile.write(folder / "x.flac", speechlike(16000, 1.3)[0], 16000)
    utterances.append(Utterance("flac", folder / "x.flac"))
    write_data_dir(folder, utterances)
    return folder


def test_whole_files(corpus: Path, tmp_path: Path) -> None:
    done = pack([corpus], tmp_path / "pack")
    assert (done.num_utterances, done.num_speakers, done.num_shards, done.skipped) == (12, 2, 1, [])
    _same(read_data_dir(corpus), read_data_dir(tmp_path / "pack"))
    assert not (tmp_path / "pack/segments").exists()
    members = {unquote(name): data for name, data in _members(tmp_path / "pack").items()}
    # what is compressed already is stored as it is, PCM as FLAC, and what FLAC cannot hold as WAV
    for suffix in ("opus", "mp3", "m4a", "flac"):
        assert members[f"{suffix}.{suffix}"] == (corpus / f"x.{suffix}").read_bytes()
    for subtype, (stored, suffix) in _WAVS.items():
        info = soundfile.info(io.BytesIO(members[f"wav.{subtype}/é{suffix}"]))
        assert (info.subtype, info.format) == (stored, suffix[1:].upper())


def test_the_layout_is_that_of_webdataset(corpus: Path, tmp_path: Path) -> None:
    """Names of a sample share all before the first dot, and follow each other (its ``base_plus_ext``)."""
    pack([corpus], tmp_path / "pack")
    names = list(_members(tmp_path / "pack"))
    assert len(names) == 24 and all(name.count(".") == 1 and "/" not in name for name in names)
    for about, sound in zip(names[::2], names[1::2], strict=True):
        assert about.endswith(".json") and about.split(".")[0] == sound.split(".")[0]
    for utterance in read_data_dir(corpus):
        name = next(name for name in names if name.endswith(".json") and unquote(name[:-5]) == utterance.id)
        about = json.loads(_members(tmp_path / "pack")[name])
        assert about == {"id": utterance.id} | ({"speaker": utterance.speaker} if utterance.speaker else {})


@pytest.mark.parametrize("suffix", ["wav", "flac", "opus"])
def test_segments(tmp_path: Path, suffix: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rate_hz = 48000 if suffix == "opus" else 44100
    wave_CS = speechlike(rate_hz, 45.0, 2)
    if suffix == "opus":
        encode(data / "r.opus", "libopus", wave_CS, rate_hz)
    else:
        soundfile.write(data / f"r.{suffix}", wave_CS.T, rate_hz)
    (data / "wav.scp").write_text(f"rec r.{suffix}\n")
    (data / "segments").write_text(
        "u2 rec 30.0301 44.9 1\nu1 rec 0.1 3.7777\nu3 rec 21.5 -1\nu4 rec 0 60 0\n"
    )
    (data / "utt2spk").write_text("u1 a\nu2 b\nu3 a\nu4 c\n")
    done = pack([data], tmp_path / "pack")
    assert done.num_utterances == 4 and done.num_speakers == 3
    _same(read_data_dir(data), read_data_dir(tmp_path / "pack"))
    members = _members(tmp_path / "pack")
    if suffix == "opus":  # which cannot be cut without a loss: it is there once
        assert list(members) == ["u2.json", "u2.opus"]
        assert members["u2.opus"] == (data / "r.opus").read_bytes()
        about = json.loads(members["u2.json"])
        assert [one["id"] for one in about["segments"]] == ["u2", "u1", "u3", "u4"]
        assert about["segments"][0] == {
            "id": "u2", "start_s": 30.0301, "end_s": 44.9, "channel": 1, "speaker": "b",
        }  # fmt: skip
    else:
        assert sorted(members) == sorted(f"u{n}.{kind}" for n in range(1, 5) for kind in ("json", "flac"))
        cut = soundfile.info(io.BytesIO(members["u2.flac"]))
        assert cut.frames == round((44.9 - 30.0301) * rate_hz) and cut.channels == 1
        assert soundfile.info(io.BytesIO(members["u1.flac"])).channels == 2


def test_packs_can_be_packed_and_moved(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "one")
    other = write_noise(tmp_path / "noise", 3)
    pack([tmp_path / "one", other], tmp_path / "two")
    shutil.rmtree(tmp_path / "one")
    (tmp_path / "two").rename(tmp_path / "moved two")
    moved = read_data_dir(tmp_path / "moved two")
    _same([*read_data_dir(corpus), *read_data_dir(other)], moved)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_shards_have_the_size_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    data = write_noise(tmp_path / "data", 90)
    pack([data], tmp_path / "whole", shard_bytes=MB)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "whole").glob("*.tar"))]
    assert len(sizes) > 2 and max(sizes) <= MB and min(sizes[:-1]) > 0.9 * MB
    _same(read_data_dir(data), read_data_dir(tmp_path / "whole"))
    listed = dict(
        reversed(line.split("  ")) for line in (tmp_path / "whole/SHA256SUMS").read_text().splitlines()
    )
    assert listed == {
        name: digest
        for name, digest in _digests(tmp_path / "whole").items()
        if name not in ("SHA256SUMS", "pack.json")
    }

    class Killed(BaseException):
        pass

    for kill_at in (1, 40, 41, 89):

        def progress(done: int, _total: int, kill_at: int = kill_at) -> None:
            if done == kill_at:
                raise Killed

        with pytest.raises(Killed):
            pack([data], tmp_path / "parts", shard_bytes=MB, on_progress=progress)
        assert not (tmp_path / "parts/wav.scp").exists()
        with pytest.raises(InputError, match="is not a Kaldi data directory"):
            read_data_dir(tmp_path / "parts")
    first = (tmp_path / "parts/shard-000000.tar").stat().st_mtime_ns
    pack([data], tmp_path / "parts", shard_bytes=MB)
    assert (tmp_path / "parts/shard-000000.tar").stat().st_mtime_ns == first  # not written again
    assert _digests(tmp_path / "parts") == _digests(tmp_path / "whole")

    assert pack([data], tmp_path / "parts", shard_bytes=MB).num_shards == len(sizes)  # there is nothing to do
    with pytest.raises(InputError, match="holds another pack"):
        pack([data], tmp_path / "parts", shard_bytes=2 * MB)


def test_a_long_recording_in_segments_over_several_shards_and_runs(tmp_path: Path) -> None:
    """Rows that point into a shard of an earlier run."""
    data = write_noise(tmp_path / "data", 60)
    encode(data / "long.opus", "libopus", speechlike(48000, 30.0), 48000)
    names = [line.split()[0] for line in (data / "wav.scp").read_text().splitlines()]
    with open(data / "wav.scp", "a") as table:
        table.write("long long.opus\n")
    lines = [f"part{n:02} long {n % 29} {n % 29 + 1.0}\n{name} {name} 0 -1\n" for n, name in enumerate(names)]
    (data / "segments").write_text("".join(lines))
    pack([data], tmp_path / "whole", shard_bytes=MB)

    def progress(done: int, _total: int) -> None:
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack([data], tmp_path / "parts", shard_bytes=MB, on_progress=progress)
    pack([data], tmp_path / "parts", shard_bytes=MB)
    assert _digests(tmp_path / "parts") == _digests(tmp_path / "whole")
    _same(read_data_dir(data)[::9], read_data_dir(tmp_path / "parts")[::9])


def test_what_is_refused(tmp_path: Path) -> None:
    data = write_noise(tmp_path / "data", 4)
    with pytest.raises(InputError, match="utterance 'u0' is also in another --data directory"):
        pack([data, write_noise(tmp_path / "again", 1)], tmp_path / "pack")
    rng = np.random.default_rng(0)
    soundfile.write(data / "1.wav", rng.standard_normal(700_000) * 0.1, 16000)
    with pytest.raises(InputError, match=r"1\.wav: takes 1\.\d MB, which does not fit in a shard of 1 MB"):
        pack([data], tmp_path / "pack", shard_bytes=MB)
    with pytest.raises(InputError, match="holds something else already"):
        pack([data], data)
    assert not (tmp_path / "pack/wav.scp").exists() and sorted(data.glob("*.tar")) == []


def test_bad_files(tmp_path: Path) -> None:
    data = write_noise(tmp_path / "data", 5)
    content = (data / "1.wav").read_bytes()
    (data / "1.wav").write_bytes(content[:9000])
    with pytest.raises(InputError, match=r"1\.wav: is truncated"):
        pack([data], tmp_path / "pack")
    (data / "3.wav").unlink()
    (data / "4.wav").write_bytes(b"no audio at all, whatever it is called")
    with pytest.raises(InputError, match=r"recording 'u3': no such audio file"):
        pack([data], tmp_path / "pack2")
    done = pack([data], tmp_path / "pack", skip_bad=True)  # goes on where the first one stopped
    assert done.num_utterances == 2
    assert [line.split(":")[0] for line in done.skipped] == ["u1", "u3", "u4"]
    assert [u.id for u in read_data_dir(tmp_path / "pack")] == ["u0", "u2"]
    (data / "3.wav").write_bytes(content)  # nobody has asked for a pack without the others
    with pytest.raises(InputError, match="3 utterances that could not be read were left out of this pack"):
        pack([data], tmp_path / "pack")
    for name in ("0", "2", "3"):
        (data / f"{name}.wav").unlink()
    with pytest.raises(InputError, match=r"none of 5 utterances can be read: u0: .*no such audio file"):
        pack([data], tmp_path / "pack4", skip_bad=True)


def test_an_utterance_beyond_the_end(tmp_path: Path) -> None:
    data = write_noise(tmp_path / "data", 1)
    (data / "segments").write_text("u0 u0 5 6\n")
    with pytest.raises(InputError, match="utterance 'u0' starts after the end of the file"):
        pack([data], tmp_path / "pack")
    (data / "segments").write_text("u0 u0 0 1 3\n")
    with pytest.raises(InputError, match="has no channel 3, only 1"):
        pack([data], tmp_path / "pack")


def test_real_speech(shared_data: Path, tmp_path: Path) -> None:
    files: dict[str, Any] = {}
    for folder in ("speechocean762/train", "commonvoice/train", "librispeech_excerpt/train", "ami_excerpt"):
        found = sorted((shared_data / folder).rglob("*.[fo][lp]*"))[:6]
        files |= {f"{folder}/{path.stem}": path for path in found}
    utterances = [Utterance(key, path) for key, path in files.items()]
    data = tmp_path / "data"
    write_data_dir(data, utterances)
    pack([data], tmp_path / "pack")
    _same(read_data_dir(data), read_data_dir(tmp_path / "pack"))
