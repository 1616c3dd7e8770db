"""sdpn.io.stored: recordings inside archives give the samples of the files that were put there."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.kaldi import read_data_dir
from tests.io.encoding import encode, speechlike


def _files(folder: Path) -> dict[str, Path]:
    """One recording of every decoder's: 25 s, which is beyond the first place where a decoder starts anew."""
    folder.mkdir()
    wave_CS = speechlike(16000, 25.0)
    files = {}
    for suffix in ("wav", "flac", "ogg"):
        files[suffix] = folder / f"a.{suffix}"
        soundfile.write(files[suffix], wave_CS[0], 16000)
    for suffix, codec, rate_hz in (("opus", "libopus", 48000), ("mp3", "mp3", 16000), ("m4a", "aac", 16000)):
        files[suffix] = folder / f"a.{suffix}"
        encode(files[suffix], codec, speechlike(rate_hz, 25.0), rate_hz)
    return files


def _tar(path: Path, files: dict[str, Path]) -> dict[str, str]:
    """A tar file as Python writes it, and where each file begins according to its own reader."""
    with tarfile.open(path, "w") as tar:
        for file in files.values():
            tar.add(file, file.name)
    with tarfile.open(path) as tar:
        return {member.name.rpartition(".")[2]: f"{path}:{member.offset_data}" for member in tar}


def test_every_format_inside_a_tar_file(tmp_path: Path) -> None:
    files = _files(tmp_path / "files")
    places = _tar(tmp_path / "shard.tar", files)
    assert places.keys() == files.keys()
    for suffix, file in files.items():
        assert audio.num_samples(places[suffix]) == audio.num_samples(file), suffix
        np.testing.assert_array_equal(audio.read(places[suffix]), audio.read(file), err_msg=suffix)
        for first in (0, 123456, 21 * 16000):
            np.testing.assert_array_equal(
                audio.read_range(places[suffix], first, 4000),
                audio.read_range(file, first, 4000),
                err_msg=f"{suffix} {first}",
            )


def test_compressed_audio_inside_a_kaldi_archive(tmp_path: Path) -> None:
    """As kaldiio writes: it puts any file behind its length; only WAV and FLAC were read before."""
    files = _files(tmp_path / "files")
    with open(tmp_path / "x.ark", "wb") as ark:
        for suffix in ("opus", "mp3"):
            data = files[suffix].read_bytes()
            ark.write(suffix.encode() + b" ")
            begin = ark.tell()
            ark.write(b"AUDIO" + bytes([8]) + len(data).to_bytes(8, "little") + data)
            place = f"{tmp_path / 'x.ark'}:{begin}"
            ark.flush()
            np.testing.assert_array_equal(audio.read(place), audio.read(files[suffix]))


def test_a_wrong_size_in_a_wav_header_inside_a_tar_file(tmp_path: Path) -> None:
    """A streamed WAV does not give its length: the archive does."""
    wave = (speechlike(16000, 1.0)[0] * 20000).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 16000, format="WAV")
    data = bytearray(buffer.getvalue())
    data[40:44] = (1000).to_bytes(4, "little")
    file, other = tmp_path / "a.wav", tmp_path / "b.wav"
    file.write_bytes(data)
    soundfile.write(other, wave, 16000)
    places = _tar(tmp_path / "x.tar", {"a": file, "b": other})
    np.testing.assert_array_equal(audio.read(places["wav"]), wave / np.float32(32768))
    with tarfile.open(tmp_path / "x.tar") as tar:
        first = tar.getmembers()[0].offset_data
    np.testing.assert_array_equal(audio.read(f"{tmp_path / 'x.tar'}:{first}"), audio.read(file))


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (0, "no file in the archive begins at this byte"),
        (511, "no file in the archive begins at this byte"),
        (513, "no file in the archive begins at this byte"),
        (1024, "no file in the archive begins at this byte"),
        (10**12, "no file in the archive begins at this byte"),
    ],
)
def test_places_where_nothing_begins(tmp_path: Path, offset: int, message: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 16000)
    _tar(tmp_path / "x.tar", {"a": tmp_path / "a.wav"})
    with pytest.raises(InputError, match=message) as caught:
        audio.read(f"{tmp_path / 'x.tar'}:{offset}")
    assert str(caught.value).startswith(f"{tmp_path / 'x.tar'}:{offset}: ") and caught.value.hint


def test_a_truncated_tar_file_and_a_damaged_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(40000), 16000)
    place = _tar(tmp_path / "x.tar", {"a": tmp_path / "a.wav"})["wav"]
    content = (tmp_path / "x.tar").read_bytes()
    begin = int(place.rpartition(":")[2])
    (tmp_path / "x.tar").write_bytes(content[:30000])
    end = begin + 44 + 2 * 40000
    with pytest.raises(InputError, match=rf"is truncated: a.wav ends at byte {end}, the archive at 30000"):
        audio.read(place)
    (tmp_path / "x.tar").write_bytes(content[: begin - 510] + b"!" + content[begin - 509 :])
    with pytest.raises(InputError, match="bad checksum"):
        audio.read(place)
    (tmp_path / "x.tar").unlink()
    with pytest.raises(InputError, match="no such audio file"):
        audio.read(place)


def test_a_table_may_point_into_a_tar_file_that_others_wrote(tmp_path: Path) -> None:
    wave = (speechlike(16000, 2.0)[0] * 20000).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", wave, 16000)
    place = _tar(tmp_path / "x.tar", {"a": tmp_path / "a.flac"})["flac"]
    (tmp_path / "wav.scp").write_text(f"rec x.tar:{place.rpartition(':')[2]}\n")
    (tmp_path / "segments").write_text("u rec 0.5 1.5\n")
    (utterance,) = read_data_dir(tmp_path)
    np.testing.assert_array_equal(utterance.read(), wave[8000:24000] / np.float32(32768))
