"""sdpn.io.kaldi: data directories and embeddings, as Kaldi writes them and as users break them."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io.kaldi import (
    Utterance,
    read_data_dir,
    read_segments,
    read_table,
    read_vectors,
    vector_writer,
    write_data_dir,
)


def data_dir(folder: Path, **tables: str) -> Path:
    """A folder with the tables given by name (``wav_scp`` for wav.scp) and the audio files a.wav, b.wav."""
    folder.mkdir(exist_ok=True)
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    for name, text in tables.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def refused(folder: Path, message: str) -> InputError:
    with pytest.raises(InputError, match=message) as caught:
        read_data_dir(folder)
    return caught.value


def test_whole_files_with_blanks_in_their_names(tmp_path: Path) -> None:
    odd = tmp_path / "my  meeting: part 1.wav"
    odd.touch()
    folder = data_dir(tmp_path / "d", wav_scp=f"utt1   {odd}  \n\nutt2\ta.wav\n", utt2spk="utt2 ann\n")
    assert read_data_dir(folder) == [
        Utterance("utt1", odd),
        Utterance("utt2", folder / "a.wav", speaker="ann"),
    ]


def test_segments_cut_files(tmp_path: Path) -> None:
    folder = data_dir(tmp_path / "d", wav_scp="rec a.wav\n", segments="s2 rec 1.5 2.25\ns1 rec 0 1\n")
    assert read_data_dir(folder) == [
        Utterance("s2", folder / "a.wav", 1.5, 2.25),
        Utterance("s1", folder / "a.wav", 0.0, 1.0),
    ]


def test_segments_without_the_recordings(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("s2 rec 1.5 2.25\n\ns1 other 0 1\n")
    rows = read_segments(tmp_path / "segments")
    assert rows == [("s2", "rec", 1.5, 2.25, None), ("s1", "other", 0.0, 1.0, None)]
    assert rows[1].recording == "other"
    (tmp_path / "segments").write_text("\n")
    with pytest.raises(InputError, match="contains no segments"):
        read_segments(tmp_path / "segments")


def test_a_data_directory_needs_its_tables(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent", "is not a Kaldi data directory").path == str(tmp_path / "absent")
    folder = data_dir(tmp_path / "d", wav_scp="\n")
    assert refused(folder, "contains no utterances").path == str(folder / "wav.scp")
    data_dir(folder, wav_scp="rec a.wav\n", segments="")
    assert refused(folder, "contains no utterances").path == str(folder / "segments")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rec b.wav", r"id 'rec' occurs a second time \(first on line 1"),
        ("lonely", "expected 'id value', found 'lonely'"),
        ("gone absent.wav", "recording 'gone': no such audio file"),
        ("folder .", "recording 'folder': no such audio file"),
        ("long " + "x" * 5000, "recording 'long': no such audio file"),
        ("pipe sox a.wav -t wav - |", "recording 'pipe' is a shell command, which sdpn does not run"),
        ("pipe | touch owned", "recording 'pipe' is a shell command"),
    ],
)
def test_a_bad_line_of_wav_scp_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = data_dir(tmp_path / "d", wav_scp=f"rec a.wav\n{line}\n")
    error = refused(folder, message)
    assert (error.path, error.line) == (str(folder / "wav.scp"), 2)


def test_files_need_not_exist_where_only_the_tables_matter(tmp_path: Path) -> None:
    folder = data_dir(tmp_path / "d", wav_scp="rec absent.wav\n")
    assert read_data_dir(folder, check_files=False) == [Utterance("rec", folder / "absent.wav")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("s2 rec 1", "expected 'utterance recording start end \\[channel\\]'"),
        ("s2 rec 1 two", "expected 'utterance recording start end \\[channel\\]'"),
        ("s2 rec 1 2 3 4", "expected 4 or 5 fields, found 6"),
        ("s2 rec 1 2 A", "expected 'utterance recording start end \\[channel\\]'"),
        ("s2 rec 1 2 -2", "'s2' is in channel -2"),
        ("s2 rec 1 -2", "'s2' runs from 1.0 to -2.0 s"),
        ("s2 rec 2 2", "'s2' runs from 2.0 to 2.0 s"),
        ("s2 rec 3 2", "'s2' runs from 3.0 to 2.0 s"),
        ("s2 rec -1 2", "'s2' runs from -1.0 to 2.0 s"),
        ("s2 rec nan 2", "'s2' runs from nan"),
        ("s2 rec 1 inf", "'s2' runs from 1.0 to inf"),
        ("s2 other 1 2", "recording 'other' is not in wav.scp"),
        ("s1 rec 1 2", "utterance 's1' occurs a second time"),
    ],
)
def test_a_bad_line_of_segments_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = data_dir(tmp_path / "d", wav_scp="rec a.wav\n", segments=f"s1 rec 0 1\n{line}\n")
    error = refused(folder, message)
    assert (error.path, error.line) == (str(folder / "segments"), 2)


def test_speakers_of_unknown_utterances_are_refused(tmp_path: Path) -> None:
    folder = data_dir(tmp_path / "d", wav_scp="rec a.wav\n", utt2spk="rec ann\nx bob\ny bob\n")
    assert refused(folder, r"utterance 'x' is not in wav.scp or segments \(2 such\)").path == str(
        folder / "utt2spk"
    )


def test_a_table_of_speakers_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "utt2spk").touch()
    (one,) = read_data_dir(tmp_path, check_files=False)
    assert one.speaker is None


def test_a_written_directory_is_sorted_and_reads_back(tmp_path: Path) -> None:
    names = ["é", "b-2", "B", "b_1", "a"]
    utterances = []
    for name in names:
        (tmp_path / f"{name} x.wav").touch()
        utterances.append(Utterance(name, tmp_path / f"{name} x.wav", speaker=f"spk{len(name)}"))
    write_data_dir(tmp_path / "d", utterances)
    assert [u.id for u in read_data_dir(tmp_path / "d")] == ["B", "a", "b-2", "b_1", "é"]  # LC_ALL=C sort
    assert sorted(read_data_dir(tmp_path / "d"), key=lambda u: names.index(u.id)) == utterances
    assert (tmp_path / "d" / "spk2utt").read_text() == "spk1 B a é\nspk3 b-2 b_1\n"


def test_relative_paths_survive_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.wav").touch()
    write_data_dir("deep/er", [Utterance("x", Path("x.wav"))])
    (utterance,) = read_data_dir("deep/er")
    assert utterance.path == tmp_path / "x.wav"


def test_what_tables_cannot_hold_is_not_written(tmp_path: Path) -> None:
    good = tmp_path / "a.wav"
    for utterances, message in [
        ([], "no utterances to write"),
        ([Utterance("a b", good)], "utterance 'a b' cannot be written"),
        ([Utterance("", good)], "utterance '' cannot be written"),
        ([Utterance("a", good, speaker="Ann Lee")], "speaker 'Ann Lee' cannot be written"),
        ([Utterance("a", good), Utterance("a", tmp_path / "b.wav")], "'a' occurs twice, also for"),
        ([Utterance("a", tmp_path / "two\nlines.wav")], "cannot be written in a Kaldi table"),
        ([Utterance("a", tmp_path / "blank ")], "cannot be written in a Kaldi table"),
        ([Utterance("a", tmp_path / "pipe |")], "cannot be written in a Kaldi table"),
        ([Utterance("a", tmp_path / "bad\udcff.wav")], "cannot be written in a Kaldi table"),
    ]:
        with pytest.raises(InputError, match=message):
            write_data_dir(tmp_path / "d", utterances)
        assert not (tmp_path / "d" / "wav.scp").exists()
    with pytest.raises(ValueError, match="utterances that are whole files"):
        write_data_dir(tmp_path / "d", [Utterance("a", good, start_s=1.0)])


def test_vectors_read_back_exactly_and_kaldiio_agrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = {key: rng.normal(size=5).astype(np.float32) for key in ("utt-1", "é/2.wav", "3")}
    with vector_writer(tmp_path / "out dir", "x") as write:
        for key, vector in vectors.items():
            write(key, vector)
    scp, ark = tmp_path / "out dir" / "x.scp", tmp_path / "out dir" / "x.ark"
    assert read_table(scp)["utt-1"] == f"{ark}:6"
    for path in (scp, ark):
        read = read_vectors(path)
        assert list(read) == list(vectors)
        for key, vector in vectors.items():
            np.testing.assert_array_equal(read[key], vector)
    for key, vector in kaldiio.load_scp(str(scp)).items():
        np.testing.assert_array_equal(vector, vectors[key])


def test_vectors_appear_only_when_all_are_written(tmp_path: Path) -> None:
    def fail() -> None:
        with vector_writer(tmp_path) as write:
            write("a", np.ones(3))
            raise RuntimeError("out of disk")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    for keys, message in ((["a b"], "cannot be written"), (["a", "a"], "occurs a second time")):
        with pytest.raises(InputError, match=message), vector_writer(tmp_path) as write:
            for key in keys:
                write(key, np.ones(3))


def test_an_scp_may_be_moved_with_its_ark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": np.ones(2, dtype=np.float32)})
    (tmp_path / "x.scp").write_text("a x.ark:2\n")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(read_vectors(tmp_path / "x.scp")["a"], [1.0, 1.0])


def test_no_command_and_no_pickle_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    scp = tmp_path / "x.scp"
    for where in (f"touch {marker} |", f"| touch {marker}"):
        scp.write_text(f"a {where}\n")
        with pytest.raises(InputError, match="the vector of 'a' is a shell command") as caught:
            read_vectors(scp)
        assert caught.value.line == 1
    ark = tmp_path / "x.ark"
    ark.write_bytes(b"a PKL" + f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(InputError, match="is not a Kaldi ark of vectors"):
        read_vectors(ark)
    scp.write_text(f"a {ark}:2\n")
    with pytest.raises(InputError, match="cannot be read from"):
        read_vectors(scp)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("absent.ark:2", "No such file"),
        ("x.ark:99999", "it ends before byte 99999"),
        ("x.ark:99999999999999999999999", "it ends before byte"),
        ("x.ark:3", "no vector starts at byte 3"),
        ("x.ark", "no vector starts at byte 0"),
        (".", "Is a directory"),
    ],
)
def test_a_vector_that_is_not_there_is_named(tmp_path: Path, value: str, message: str) -> None:
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": np.ones(2, dtype=np.float32)})
    scp = tmp_path / "x.scp"
    scp.write_text(f"good x.ark:2\nbad {value}\n")
    with pytest.raises(InputError, match=f"the vector of 'bad' cannot be read from .*{message}") as caught:
        read_vectors(scp)
    assert (caught.value.path, caught.value.line) == (str(scp), 2)


def test_vectors_must_be_finite_and_of_one_length(tmp_path: Path) -> None:
    ark = tmp_path / "x.ark"
    for vectors, message in [
        ({}, "contains no vectors"),
        ({"a": [1.0], "b": [1.0, 2.0]}, "'b' has 2 dimensions, 'a' has 1"),
        ({"a": [1.0, np.nan]}, "the vector of 'a' contains NaN"),
        ({"a": [1.0, np.inf]}, "the vector of 'a' contains NaN or infinite"),
    ]:
        kaldiio.save_ark(str(ark), {key: np.array(v, dtype=np.float32) for key, v in vectors.items()})
        with pytest.raises(InputError, match=message):
            read_vectors(ark)
    kaldiio.save_ark(str(ark), {"a": np.array([1e300])})  # beyond float32
    with pytest.raises(InputError, match="contains NaN or infinite"):
        read_vectors(ark)
    ark.write_bytes(b"a  [ 1 ]\na  [ 2 ]\n")
    with pytest.raises(InputError, match="'a' occurs a second time"):
        read_vectors(ark)
    with pytest.raises(InputError, match="no such scp or ark"):
        read_vectors(tmp_path / "absent.scp")


IDS = st.from_regex(r"[A-Za-z0-9_./é-]{1,6}", fullmatch=True)
NAMES = st.text(min_size=1, max_size=10).filter(
    lambda name: (
        "/" not in name
        and not any(unicodedata.category(character) == "Cc" for character in name)
        and name == name.strip()
        and not name.endswith("|")
        and name not in (".", "..")
        and name == name.encode("utf-8", "replace").decode()
    )
)


@given(table=st.dictionaries(IDS, st.tuples(NAMES, st.one_of(st.none(), IDS)), min_size=1, max_size=6))
def test_a_written_directory_reads_back(tmp_path: Path, table: dict[str, tuple[str, str | None]]) -> None:
    folder = tmp_path / "written"
    for stale in ("utt2spk", "spk2utt"):
        (folder / stale).unlink(missing_ok=True)
    utterances = [Utterance(key, tmp_path / name, speaker=spk) for key, (name, spk) in table.items()]
    write_data_dir(folder, utterances)
    assert {u.id: u for u in read_data_dir(folder, check_files=False)} == {u.id: u for u in utterances}


@given(
    content=st.one_of(st.binary(max_size=80), st.text("ab 0.|\n:", max_size=60).map(str.encode)),
    name=st.sampled_from(["wav.scp", "segments", "utt2spk"]),
)
def test_random_tables_are_read_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    folder = data_dir(tmp_path / "d", wav_scp="a a.wav\nb b.wav\n", segments="a a 0 1\n", utt2spk="a ann\n")
    (folder / name).write_bytes(content)
    for read in (lambda: read_table(folder / name), lambda: read_data_dir(folder)):
        try:
            read()
        except InputError as error:
            assert os.path.dirname(str(error.path)).startswith(str(tmp_path))


@given(
    content=st.one_of(
        st.binary(max_size=80),
        st.text("a 0.[]\n:1-", max_size=40).map(str.encode),
        st.binary(max_size=40).map(lambda tail: b"a \0BFV \4" + tail),
    ),
    suffix=st.sampled_from([".ark", ".scp"]),
)
def test_random_vectors_are_read_or_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"random{suffix}"
    path.write_bytes(content)
    try:
        vectors = read_vectors(path)
    except InputError as error:
        assert error.path == str(path)
    else:
        assert all(np.isfinite(vector).all() and vector.ndim == 1 for vector in vectors.values())


def test_segments_to_the_end_and_of_one_channel(tmp_path: Path) -> None:
    # as Kaldi's extract-segments: an end of -1 is that of the recording, the fifth field is the channel
    left, right = np.full(32000, 0.25), np.linspace(-0.5, 0.5, 32000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    segments = "tail rec 1.5 -1\none rec 0.5 1 1\nmixed rec 0 1 -1\n"
    tail, one, mixed = read_data_dir(data_dir(tmp_path, wav_scp="rec a.wav\n", segments=segments))
    np.testing.assert_allclose(tail.read(), (left + right)[24000:] / 2, atol=1e-7)
    assert tail.num_samples() == 8000
    np.testing.assert_allclose(one.read(), right[8000:16000], atol=1e-7)
    np.testing.assert_allclose(one.read_range(100, 50, channel=0), right[8100:8150], atol=1e-7)
    np.testing.assert_allclose(mixed.read(channel=0), left[:16000], atol=1e-7)
    data_dir(tmp_path, wav_scp="rec a.wav\n", segments="s rec 0 1 2\n")
    with pytest.raises(InputError, match="has no channel 2, only 2"):
        read_data_dir(tmp_path)[0].read()


def test_audio_inside_archives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    waves = {f"u{index}": (rng.standard_normal(1000 + index) * 3000).astype(np.int16) for index in range(3)}
    # as Kaldi's wav-copy: key, blank, the WAV file
    with open(tmp_path / "kaldi.ark", "wb") as ark:
        lines = []
        for key, wave in waves.items():
            ark.write(f"{key} ".encode())
            lines.append(f"{key} kaldi.ark:{ark.tell()}\n")
            buffer = io.BytesIO()
            soundfile.write(buffer, wave, 16000, format="WAV")
            ark.write(buffer.getvalue())
    data_dir(tmp_path, wav_scp="".join(lines))
    utterances = read_data_dir(tmp_path)
    # as kaldiio writes them
    kaldiio.save_ark(
        str(tmp_path / "other.ark"),
        {key: (wave, 16000) for key, wave in waves.items()},
        scp=str(tmp_path / "wav.scp"),
        write_function="soundfile",
    )
    for utterance in [*utterances, *read_data_dir(tmp_path)]:
        wave = waves[utterance.id]
        np.testing.assert_array_equal(utterance.read(), wave.astype(np.float32) / 32768)
        np.testing.assert_array_equal(utterance.read_range(500, 20), wave[500:520] / np.float32(32768))
    content = (tmp_path / "kaldi.ark").read_bytes()
    (tmp_path / "kaldi.ark").write_bytes(content[:-500])
    with pytest.raises(InputError, match="is truncated"):
        utterances[-1].read()
    (tmp_path / "wav.scp").write_text("a kaldi.ark:0\nb kaldi.ark:99999999\n")
    for utterance in read_data_dir(tmp_path):
        with pytest.raises(InputError, match=r"is not readable audio|no audio at this place"):
            utterance.read()
    (tmp_path / "wav.scp").write_text("a absent.ark:5\n")
    with pytest.raises(InputError, match="no such audio file"):
        read_data_dir(tmp_path)
