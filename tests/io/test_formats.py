"""Formats beyond libsndfile's: the right length, the same samples by range and in blocks, and what is lost.

Right lengths are those of the wave that was encoded (to the padding of a frame or two) and, exactly, what
ffmpeg decodes when it is asked plainly, without this reader.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io import audio
from tests.io.encoding import encode, speechlike


@dataclass(frozen=True)
class Kind:
    """How a format is made."""

    codec: str
    rate_hz: int
    channels: int = 1
    padding_s: float = 0.1
    settings: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "tagged.mp3": Kind("libmp3lame", 44100, 2),
    "untagged.mp3": Kind(
        "libmp3lame", 16000, settings={"options": {"write_xing": "0", "id3v2_version": "0"}}
    ),
    "vbr.mp3": Kind(
        "libmp3lame", 22050, settings={"codec_options": {"q": "7"}, "options": {"write_xing": "0"}}
    ),
    "low.mp3": Kind("libmp3lame", 8000, padding_s=0.2, settings={"options": {"write_xing": "0"}}),
    "last.m4a": Kind("aac", 44100, 2),
    "first.m4a": Kind("aac", 16000, settings={"options": {"movflags": "faststart"}}),
    "fragmented.mp4": Kind("aac", 16000, settings={"options": {"movflags": "frag_keyframe+empty_moov"}}),
    "raw.aac": Kind("aac", 11025, padding_s=0.3, settings={"container": "adts"}),
    "surround.m4a": Kind("aac", 16000, 6),
    "lossless.m4a": Kind("alac", 44100, 1, 0.0),
    "recorder.webm": Kind("libopus", 48000),
    "film.mkv": Kind("aac", 44100, 1),
    "broadcast.ts": Kind("aac", 48000, settings={"container": "mpegts"}),
    "telephone.amr": Kind("libopencore_amrnb", 8000),
    "dvd.ac3": Kind("ac3", 48000),
    "old.mp2": Kind("mp2", 48000),
    "ima.wav": Kind("adpcm_ima_wav", 16000, 1, 0.3),
    "ms.wav": Kind("adpcm_ms", 22050, 1, 0.3),
    "apple.caf": Kind("alac", 44100, 1, 0.0, {"container": "caf"}),
}
DURATION_S = 27.7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("formats")
    for name, kind in KINDS.items():
        wave = speechlike(kind.rate_hz, DURATION_S, kind.channels)
        encode(folder / name, kind.codec, wave, kind.rate_hz, **kind.settings)
    return folder


def plainly_decoded(path: Path) -> np.ndarray:
    """(frames, channels) that ffmpeg gives when its decoder is let run from start to end."""
    parts = []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            samples = frame.to_ndarray().astype(np.float64)
            if not frame.format.is_planar:
                samples = samples.reshape(-1, len(frame.layout.channels)).T
            parts.append(samples / {"s16": 2**15, "s32": 2**31}.get(frame.format.name.rstrip("p"), 1))
    return np.concatenate(parts, axis=1).T


@pytest.mark.parametrize("name", KINDS)
def test_the_whole_file_is_read(folder: Path, name: str) -> None:
    kind = KINDS[name]
    header = audio.info(folder / name)
    assert (header.rate_hz, header.num_channels) == (kind.rate_hz, kind.channels)
    assert -0.001 <= header.duration_s - DURATION_S <= kind.padding_s
    plain = plainly_decoded(folder / name)
    assert header.num_frames == len(plain)
    read = audio.read(folder / name, rate_hz=kind.rate_hz)
    # up to the first decoder that takes over, the very samples; afterwards those of one that began anew
    early = 19 * kind.rate_hz
    np.testing.assert_allclose(read[:early], plain.mean(axis=1)[:early], atol=1e-6)
    apart = read - plain.mean(axis=1)
    assert np.sqrt(np.mean(apart**2)) < 0.05 * np.sqrt(np.mean(read**2))
    assert audio.num_samples(folder / name) == len(audio.read(folder / name))


@pytest.mark.parametrize(
    ("name", "duration_s"),
    [
        ("mp3-vbr-without-tag/vbr.mp3", 8.10),
        ("mp3-cbr-without-tag/cbr44k.mp3", 5.17),
        ("wav-gsm610/voicemail.wav", 8.00),
        ("concatenated-ogg/two.ogg", 16.02),
        ("m4a/phone.m4a", 8.00),
        ("speech8.wav", 8.00),
    ],
)
def test_files_that_were_read_in_part_or_refused(shared_data: Path, name: str, duration_s: float) -> None:
    path = shared_data.parent / "cases" / name
    if not path.is_file():
        pytest.skip(f"the shared cases are not here: {path}")
    assert audio.info(path).duration_s == pytest.approx(duration_s, abs=0.005)
    whole = audio.read(path)
    assert len(whole) == pytest.approx(duration_s * 16000, abs=80)
    np.testing.assert_array_equal(audio.read_range(path, 60000, 500), whole[60000:60500])


@pytest.mark.parametrize("name", KINDS)
def test_ranges_and_blocks_are_the_whole_bit_for_bit(folder: Path, name: str) -> None:
    path = folder / name
    whole = audio.read(path)
    with audio.open_audio(path) as stream:
        np.testing.assert_array_equal(np.concatenate(list(stream.blocks(7.3))), whole)
    rng = np.random.default_rng(1)
    firsts = [0, 16000 * 20 - 100, 16000 * 20 - 1, len(whole) - 500, *rng.integers(0, len(whole), 6)]
    for first in firsts:
        np.testing.assert_array_equal(audio.read_range(path, int(first), 9000), whole[first : first + 9000])
    assert audio.read_range(path, len(whole) + 10, 5).shape == (0,)
    part = audio.read(path, start_s=21.0, duration_s=2.0)
    np.testing.assert_array_equal(
        audio.read_range(path, 700, 300, start_s=21.0, duration_s=2.0), part[700:1000]
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_range_needs_no_index_of_an_earlier_read(folder: Path, tmp_path: Path, name: str) -> None:
    whole = audio.read(folder / name)
    fresh = Path(shutil.copy(folder / name, tmp_path / f"fresh-{name}"))  # never seen by the index
    np.testing.assert_array_equal(audio.read_range(fresh, 400000, 4000), whole[400000:404000])


#: Share of the file that is kept, and the formats of which it can be known.
CUT = [
    name
    for name in KINDS
    if name not in ("broadcast.ts",)  # a transport stream may end anywhere
]


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("share", [0.93, 0.4])
def test_the_error_for_a_truncated_file_states_what_is_lost(
    folder: Path, tmp_path: Path, name: str, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    content = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(share * len(content)) // 1152 * 1152 + 701])  # between no two frames
    for function in (audio.read, audio.info, audio.num_samples):
        with pytest.raises(InputError, match=r"truncated|breaks off|cut off|beyond|malformed") as caught:
            function(path)
        assert caught.value.path == str(path)
    if name in ("last.m4a", "lossless.m4a", "surround.m4a", "apple.caf"):
        return  # nothing can be read before the table of contents
    with audio.open_audio(path, keep_truncated=True) as stream:
        kept = np.concatenate(list(stream.blocks()))
    assert 0.5 * share * DURATION_S * 16000 < len(kept) < DURATION_S * 16000
    assert "read up to there" in caplog.text


def test_an_mp4_without_its_index_is_reported(folder: Path, tmp_path: Path) -> None:
    content = (folder / "last.m4a").read_bytes()
    path = tmp_path / "cut.m4a"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"\(moov\) is missing"):
        audio.read(path)


@pytest.mark.parametrize("tag", ["id3v2", "cover", "id3v1", "ape"])
@pytest.mark.parametrize("name", ["tagged.mp3", "untagged.mp3"])
def test_tags_do_not_make_an_mp3_truncated(folder: Path, tmp_path: Path, name: str, tag: str) -> None:
    content = (folder / name).read_bytes()
    size = len(content)
    if tag in ("id3v2", "cover"):
        picture = b"APIC" + struct.pack(">IH", 50000, 0) + b"\0image/jpeg\0\3\0" + b"\xff\xd8" + bytes(49986)
        body = picture if tag == "cover" else b"TIT2" + struct.pack(">IH", 8, 0) + b"\3a title"
        length = bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0))
        content = b"ID3\4\0\0" + length + body + content
    elif tag == "id3v1":
        content += b"TAG" + bytes(125)
    else:
        content += b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0x80000000) + bytes(8)
    path = tmp_path / name
    path.write_bytes(content)
    assert len(content) > size
    np.testing.assert_array_equal(audio.read(path), audio.read(folder / name))


@pytest.mark.parametrize(("codec", "rate_hz"), [("OPUS", 16000), ("VORBIS", 44100)])
def test_chained_ogg_is_read_to_its_end(tmp_path: Path, codec: str, rate_hz: int) -> None:
    lengths_s = (3.0, 25.0, 2.0)
    for number, length_s in enumerate(lengths_s):
        wave = speechlike(rate_hz, length_s)[0] * (1 - 0.3 * number)
        soundfile.write(tmp_path / f"{number}.ogg", wave, rate_hz, format="OGG", subtype=codec)
    links = [(tmp_path / f"{number}.ogg").read_bytes() for number in range(3)]
    chained = tmp_path / "chained.ogg"
    for parts, total_s in ((links, 30.0), ([links[0], links[0]], 6.0)):  # the last: the same serial twice
        chained.write_bytes(b"".join(parts))
        assert audio.info(chained).duration_s == pytest.approx(total_s, abs=0.05)
        whole = audio.read(chained)
        if len(parts) == 3:
            alone = audio.read(tmp_path / "1.ogg")[8000 : 4 * 16000]
            # ffmpeg leaves some samples where one link ends and the next begins
            spans = [whole[56000 + lag :][: len(alone)] for lag in range(-600, 601, 2)]
            assert max(np.corrcoef(span, alone)[0, 1] for span in spans) > 0.95
            np.testing.assert_array_equal(audio.read_range(chained, 400000, 999), whole[400000:400999])
        with audio.open_audio(chained) as stream:
            np.testing.assert_array_equal(np.concatenate(list(stream.blocks(4))), whole)
    chained.write_bytes(b"".join(links)[:-500])
    with pytest.raises(InputError, match="truncated: its last page is cut off"):
        audio.read(chained)


def test_chained_mp3_of_different_kinds_is_read_to_its_end(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp3", "libmp3lame", speechlike(44100, 24.0, 2), 44100)
    encode(tmp_path / "b.mp3", "libmp3lame", speechlike(16000, 23.0), 16000)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    assert audio.info(joined).duration_s == pytest.approx(47.0, abs=0.3)
    whole = audio.read(joined)
    alone = audio.read(tmp_path / "b.mp3")
    spectrum = np.abs(np.fft.rfft(whole[30 * 16000 : 31 * 16000]))
    expected = np.abs(np.fft.rfft(alone[6 * 16000 : 7 * 16000]))
    assert (
        np.corrcoef(spectrum[50:2000], expected[50:2000])[0, 1] > 0.7
    )  # the rate is not taken for the first's
    for first in (350000, 600000, 700000):
        np.testing.assert_array_equal(audio.read_range(joined, first, 3000), whole[first : first + 3000])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_end_flag_is_whole(
    tmp_path: Path, subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, speechlike(16000, 6.0)[0], 16000, format="OGG", subtype=subtype)
    before = audio.read(path)
    content = bytearray(path.read_bytes())
    at = content.rfind(b"OggS")
    content[at + 5] &= ~4
    _set_checksum(content, at)
    path.write_bytes(content)
    after = audio.read(path)
    assert 0 <= len(after) - len(before) < 200
    np.testing.assert_allclose(after[: len(before)], before, atol=0.01 if subtype == "OPUS" else 0)
    assert "not marked as the last" in caplog.text
    path.write_bytes(content[:at])  # its last page is gone: a recorder that was switched off
    assert 0 < len(audio.read(path)) < len(before)


def _set_checksum(content: bytearray, at: int) -> None:
    """The checksum of an Ogg page (RFC 3533, section 6)."""
    content[at + 22 : at + 26] = bytes(4)
    register = 0
    for byte in content[at:]:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 1 << 31 else 0)) & 0xFFFFFFFF
    content[at + 22 : at + 26] = struct.pack("<I", register)


@pytest.mark.parametrize("off", [-30000, -44, -3, 0, 1, 8, 44, 200])
def test_a_wav_whose_size_is_wrong_is_read_to_its_end(
    tmp_path: Path, off: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wrong.wav"
    wave = speechlike(16000, 3.0)[0]
    soundfile.write(path, wave, 16000)
    right = audio.read(path)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", struct.unpack("<I", content[40:44])[0] + off)
    path.write_bytes(content)
    read = audio.read(path)
    assert len(right) - len(read) in (0, 1, 2)  # below eight bytes nobody can tell samples from padding
    np.testing.assert_array_equal(read, right[: len(read)])
    assert ("read to the end" in caplog.text) is (abs(off) > 8 or off > 0)
    np.testing.assert_array_equal(audio.read_range(path, 30000, 99), right[30000:30099])


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "PCM_U8"])
def test_a_wav_without_a_size_is_read_to_its_end(tmp_path: Path, size: int, subtype: str) -> None:
    path = tmp_path / "stream.wav"
    soundfile.write(path, speechlike(8000, 2.0, 2).T, 8000, subtype=subtype)
    right = audio.read(path)
    content = bytearray(path.read_bytes())
    at = content.find(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", size)
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.read(path), right)


def test_chunks_and_tags_after_the_samples_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speechlike(16000, 1.0)[0], 16000)
    right, content = audio.read(path), path.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 40) + b"INFO" + bytes(36)
    for after in (chunk, b"TAG" + bytes(125), bytes(512), chunk + chunk, b"ID3\4" + bytes(range(200))):
        path.write_bytes(content + after)
        np.testing.assert_array_equal(audio.read(path), right)


def test_a_flac_that_was_streamed_has_no_length_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "streamed.flac"
    soundfile.write(path, speechlike(16000, 30.0)[0], 16000)
    right = audio.read(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # STREAMINFO: total samples unknown
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.read(path), right)
    np.testing.assert_array_equal(audio.read_range(path, 400000, 50), right[400000:400050])


def test_names_that_look_like_urls_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a.mp3", "libmp3lame", speechlike(16000, 1.0), 16000)
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp3", "http:a.mp3", "a\udcffb.mp3", "ä 'b'.mp3"):
        shutil.copy("a.mp3", name)
        np.testing.assert_array_equal(audio.read(name), audio.read("a.mp3"))


def test_playlists_open_nothing(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp3", "libmp3lame", speechlike(16000, 1.0), 16000)
    for text in (
        "ffconcat version 1.0\nfile a.mp3\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.mp3\n",
    ):
        for name in ("list.txt", "list.m3u8", "list.mp3"):
            (tmp_path / name).write_text(text * 20)
            with pytest.raises(InputError):
                audio.read(tmp_path / name)


def test_a_picture_holds_no_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "silent.mp4"), "w") as output:
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(5):
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24"))
            )
        output.mux(stream.encode(None))
    with pytest.raises(InputError, match="has no audio stream"):
        audio.read(tmp_path / "silent.mp4")


#: name -> what makes a small file
SMALL: dict[str, Callable[[Path], None]] = {
    "a.wav": lambda path: soundfile.write(path, speechlike(16000, 0.1)[0], 16000),
    "a.ogg": lambda path: soundfile.write(path, speechlike(16000, 0.3)[0], 16000),
    "a.opus": lambda path: soundfile.write(
        path, speechlike(16000, 0.3)[0], 16000, format="OGG", subtype="OPUS"
    ),
    "a.mp3": lambda path: encode(path, "libmp3lame", speechlike(16000, 0.4), 16000),
    "a.m4a": lambda path: encode(path, "aac", speechlike(16000, 0.3), 16000),
    "a.webm": lambda path: encode(path, "libopus", speechlike(48000, 0.2), 48000),
}


@given(data=st.data())
@pytest.mark.parametrize("name", SMALL)
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / name
    if not (tmp_path / f"whole-{name}").exists():
        SMALL[name](path)
        path.rename(tmp_path / f"whole-{name}")
    content = bytearray((tmp_path / f"whole-{name}").read_bytes())
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
    ):
        content[at] = value
    content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=200))
    path.write_bytes(content)
    for function in (audio.info, audio.read, lambda path: audio.read_range(path, 1000, 100)):
        try:
            function(path)
        except InputError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
