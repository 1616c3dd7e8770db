"""Kaldi data directories as a whole: every fault is found, and what is divided can be put together again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sdpn.cli.main import main
from sdpn.data.directories.combine import combine_data_dirs
from sdpn.data.directories.fix import fix_data_dir
from sdpn.data.directories.split import split_data_dir
from sdpn.data.directories.subset import subset_data_dir
from sdpn.data.directories.tables import write_tables
from sdpn.data.directories.validate import validate_data_dir
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir, read_table


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three recordings of 1, 2 and 3 s, five utterances in them, two speakers; sound."""
    folder = tmp_path / "corpus"
    (folder / "audio").mkdir(parents=True)
    for seconds in (1, 2, 3):
        soundfile.write(folder / f"audio/{seconds}.wav", np.zeros(16000 * seconds), 16000)
    tables = {
        "wav.scp": {f"r{number}": f"audio/{number}.wav" for number in (1, 2, 3)},
        "segments": {"a1": "r1 0 1", "a2": "r2 0 2", "a3": "r2 0.5 1", "b1": "r3 0 -1", "b2": "r3 1 1.25 0"},
        "utt2spk": {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"},
        "text": {"a1": "one two", "a2": "", "a3": "three", "b1": "vier", "b2": "fünf"},
        "reco2dur": {"r1": "1", "r2": "2", "r3": "3"},
        "spk2gender": {"a": "f", "b": "m"},
    }
    write_tables(folder, tables)
    return folder


def test_a_sound_directory_has_no_faults(corpus: Path) -> None:
    assert validate_data_dir(corpus) == []


#: Table, what becomes of its text, and where the faults are: file, line, a part of the message.
FAULTS: list[tuple[str, Callable[[str], str], list[tuple[str, int | None, str]]]] = [
    ("utt2spk", lambda text: text.replace("a2 a\n", "a2\n"), [("utt2spk", 2, "expected 'id value'")]),
    (
        "utt2spk",
        lambda text: text + "b2 a\n",
        [("utt2spk", 6, "'b2' occurs a second time (first on line 5)")],
    ),
    ("utt2spk", lambda text: text.replace("a1 a", "a1 a x"), [("utt2spk", 1, "expected 'id value'")]),
    ("utt2spk", lambda text: text.replace("a3 a", "a3 b"), [("spk2utt", 1, "'a3' is of 'a' here")]),
    (
        "segments",
        lambda text: text.replace("r2 0.5 1", "r2 1 0.5"),
        [("segments", 3, "runs from 1.0 to 0.5 s")],
    ),
    ("segments", lambda text: text.replace("a1 r1", "a1 r9"), [("segments", 1, "'r9' is not in wav.scp")]),
    ("segments", lambda text: text.replace("a1 r1", "a1 r2"), [("wav.scp", 1, "'r1' is not in segments")]),
    (
        "segments",
        lambda text: text.replace("b2 r3 1 1.25 0", "b2 r3 1"),
        [("segments", 5, "expected 'utterance")],
    ),
    ("text", lambda text: text.replace("a3 three\n", ""), [("segments", 3, "'a3' is not in text")]),
    ("text", lambda text: text + "c1 six\n", [("text", 6, "'c1' is not in segments")]),
    ("text", lambda _: "", [("text", None, "is empty")]),
    ("wav.scp", lambda text: text.replace("audio/2", "audio/9"), [("wav.scp", 2, "no such audio file")]),
    ("wav.scp", lambda text: text.replace("audio/2.wav", "sox x |"), [("wav.scp", 2, "is a shell command")]),
    ("wav.scp", lambda text: "".join(reversed(text.splitlines(True))), [("wav.scp", 2, "C-locale order")]),
    ("reco2dur", lambda text: text + "r4 1\n", [("reco2dur", 4, "'r4' is not in wav.scp")]),
    ("spk2gender", lambda _: "a f\n", [("utt2spk", 4, "speaker 'b' is not in spk2gender")]),
    ("spk2utt", lambda text: text.replace(" b2", ""), [("utt2spk", 5, "'b2' is not in spk2utt")]),
]


@pytest.mark.parametrize(("table", "change", "expected"), FAULTS)
def test_faults_have_file_and_line(
    corpus: Path,
    table: str,
    change: Callable[[str], str],
    expected: list[tuple[str, int | None, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (corpus / table).read_text()
    (corpus / table).write_text(change(text))
    found = validate_data_dir(corpus)
    for name, line, message in expected:
        assert any(
            (fault.path.name, fault.line) == (name, line) and message in fault.message for fault in found
        ), found
    assert main(["data", "validate", str(corpus)]) == 1
    printed = capsys.readouterr().out
    assert all(f"{corpus / name}{f':{line}' if line else ''}: " in printed for name, line, _ in expected)
    out = corpus.parent / "fixed"
    if table == "text" and not (corpus / "text").read_text():
        with pytest.raises(InputError, match="no utterance is in all tables"):
            fix_data_dir(corpus, out)
        assert not out.exists()
        return
    before = contents_of_tables(corpus)
    fixed = fix_data_dir(corpus, out)
    assert validate_data_dir(out) == []
    assert contents_of_tables(corpus) == before
    # what is gone is named: as many lines as there are fewer rows
    kept = {name: (out / name).read_text().count("\n") for name in before if name != "spk2utt"}
    gone = sum(before[name].count(b"\n") - count for name, count in kept.items())
    assert len(fixed.dropped) == gone, fixed.dropped


def contents_of_tables(folder: Path) -> dict[str, bytes]:
    """Tables of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_fix_says_what_it_dropped_and_sorted(corpus: Path) -> None:
    (corpus / "text").write_text("b1 vier\na1 one\na2\n")
    fixed = fix_data_dir(corpus, corpus.parent / "fixed")
    assert (fixed.num_utterances, fixed.sorted, fixed.not_copied) == (3, ["text"], ["audio"])
    assert sorted(fixed.dropped) == [
        f"{corpus}/segments:3: 'a3' is dropped: it is not in text",
        f"{corpus}/segments:5: 'b2' is dropped: it is not in text",
        f"{corpus}/utt2spk:3: 'a3' is dropped: it is not in text",
        f"{corpus}/utt2spk:5: 'b2' is dropped: it is not in text",
    ]
    assert (corpus.parent / "fixed/text").read_text() == "a1 one\na2\nb1 vier\n"
    assert (corpus.parent / "fixed/spk2utt").read_text() == "a a1 a2\nb b1\n"


def test_utt2spk_is_made_of_spk2utt(corpus: Path) -> None:
    before = (corpus / "utt2spk").read_bytes()
    (corpus / "utt2spk").unlink()
    assert [fault.message for fault in validate_data_dir(corpus)] == ["there is no utt2spk beside it"]
    fix_data_dir(corpus, corpus.parent / "fixed")
    assert (corpus.parent / "fixed/utt2spk").read_bytes() == before


def test_the_fixed_directory_has_the_same_speech(corpus: Path) -> None:
    fix_data_dir(corpus, corpus.parent / "elsewhere/fixed")
    assert [u.num_samples() for u in read_data_dir(corpus.parent / "elsewhere/fixed")] == [
        u.num_samples() for u in read_data_dir(corpus)
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--num 2", "a1 a3"),
        ("--first 2", "a1 a2"),
        ("--last 2", "b1 b2"),
        ("--shortest 3", "a1 a3 b2"),  # 0.25, 0.5 and 1 s
        ("--per-speaker 1", "a1 b1"),
        ("--speakers 2", "a1 a2 a3 b1 b2"),
        ("--utt-list LIST", "a2 b1"),
        ("--spk-list SPEAKERS", "b1 b2"),
    ],
)
def test_subsets(corpus: Path, options: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "LIST").write_text("b1 and more\na2\n")
    (tmp_path / "SPEAKERS").write_text("b\n")
    words = [str(tmp_path / word) if word.isupper() else word for word in options.split()]
    assert main(["data", "subset", str(corpus), *words, "--out", str(tmp_path / "out")]) == 0
    assert list(read_table(tmp_path / "out/utt2spk")) == expected.split()
    assert validate_data_dir(tmp_path / "out") == []


def test_random_subsets_are_those_of_the_seed(corpus: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1)):
        done = subset_data_dir(corpus, tmp_path / name, utterances=3, choose="random", seed=seed)
        assert done.num_utterances == 3
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    done = subset_data_dir(corpus, tmp_path / "speaker", speakers=1)
    assert done.num_speakers == 1 and done.num_utterances in (2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("subset DIR --num 6 --out OUT", "6 utterances are asked for, of 5"),
        ("subset DIR --speakers 3 --out OUT", "3 speakers are asked for, of 2"),
        ("subset DIR --out OUT", "what is the subset?"),
        ("subset DIR --num 2", "needs --out OUT"),
        ("subset DIR --utt-list DIR/wav.scp --out OUT", "utterance 'r1' of the list is not there (3 such)"),
        ("split DIR --into 3 --out OUT", "3 parts are asked for, of 2 speakers (ask for fewer, or split by"),
        ("split DIR --into 6 --by utterance --out OUT", "6 parts are asked for, of 5 utterances"),
        ("split DIR --out OUT", "needs --into N"),
        ("combine DIR DIR --out OUT", "segments:1: utterance 'a1' is also in"),
        ("validate OUT", "it has no wav.scp"),
        ("fix DIR --num 2 --out OUT", "--num is not for 'data fix' (it is for subset)"),
        ("fix DIR --out DIR", "already exists"),
        ("fix DIR DIR --out OUT", "takes one directory"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    corpus: Path, words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words.replace("DIR", str(corpus)).replace("OUT", str(tmp_path / "out")).split()
    assert main(["data", *given]) == 2
    error = capsys.readouterr().err
    assert message in error.replace(str(tmp_path / "out"), "OUT") and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


def test_a_directory_with_faults_is_refused_with_the_first(corpus: Path, tmp_path: Path) -> None:
    (corpus / "text").write_text("a1 one\n")
    for work in (
        lambda: subset_data_dir(corpus, tmp_path / "out", utterances=1),
        lambda: split_data_dir(corpus, tmp_path / "out", 2),
        lambda: combine_data_dirs([corpus], tmp_path / "out"),
    ):
        with pytest.raises(InputError, match=r"segments:2: utterance 'a2' is not in text .*sdpn data fix"):
            work()
    assert not (tmp_path / "out").exists()


def test_combining_recordings_with_segments(corpus: Path, voices: Path, tmp_path: Path) -> None:
    done = combine_data_dirs([corpus, voices], tmp_path / "out")
    assert (done.num_utterances, done.left_out) == (29, ["reco2dur", "text", "spk2gender"])
    assert read_table(tmp_path / "out/segments")["u00"] == "u00 0 -1"
    assert [u.num_samples() for u in read_data_dir(tmp_path / "out")][5:] == [20000] * 24


def test_combining_refuses_two_recordings_of_one_id(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = {
        "wav.scp": {"r1": str(corpus / "audio/2.wav")},
        "segments": {"x": "r1 0 1"},
        "utt2spk": {"x": "a"},
    }
    write_tables(tmp_path / "other", other)
    with pytest.raises(InputError, match=r"other/wav.scp:1: 'r1' is .*audio/2.wav' here"):
        combine_data_dirs([corpus, tmp_path / "other"], tmp_path / "out")
    other["wav.scp"]["r1"] = str(corpus / "audio/1.wav")
    write_tables(tmp_path / "other", other)
    assert combine_data_dirs([corpus, tmp_path / "other"], tmp_path / "out").shared_speakers == ["a"]


IDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6).filter(
    lambda text: text.split() == [text] and not text.startswith("\ufeff")
)


@st.composite
def directories(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    """Tables of a sound directory, with or without segments."""
    utterances = draw(st.lists(IDS, min_size=1, max_size=12, unique=True))
    speakers = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    tables = {
        "utt2spk": {key: draw(st.sampled_from(speakers)) for key in utterances},
        "text": {key: draw(st.sampled_from(["", "a word", "ein  Wort"])) for key in utterances},
    }
    if draw(st.booleans()):
        recordings = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
        tables["segments"] = {
            key: f"{draw(st.sampled_from(recordings))} 0 {n + 1}" for n, key in enumerate(utterances)
        }
        used = {value.split()[0] for value in tables["segments"].values()}
    else:
        used = set(utterances)
    tables["wav.scp"] = {key: f"/audio/{number}.wav" for number, key in enumerate(sorted(used))}
    tables["reco2dur"] = dict.fromkeys(used, "30")
    return tables


@given(directories(), st.sampled_from(["speaker", "utterance"]), st.integers(1, 4))
def test_split_and_combined_it_is_the_same(
    tables: dict[str, dict[str, str]], by: str, num_parts: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        write_tables(folder / "whole", tables)
        assert validate_data_dir(folder / "whole", check_files=False) == []
        num_parts = min(
            num_parts, len(set(tables["utt2spk"].values()) if by == "speaker" else tables["utt2spk"])
        )
        done = split_data_dir(folder / "whole", folder / "parts", num_parts, by=by)  # type: ignore[arg-type]
        assert sum(done.num_utterances) == len(tables["utt2spk"]) and min(done.num_utterances) > 0
        for part in done.parts:
            assert validate_data_dir(part, check_files=False) == []
        if by == "utterance":
            assert max(done.num_utterances) - min(done.num_utterances) <= 1
        else:
            held = [set(read_table(part / "utt2spk").values()) for part in done.parts]
            assert sum(map(len, held)) == len(set.union(*held))
        combine_data_dirs(done.parts, folder / "again")
        assert contents(folder / "again") == contents(folder / "whole")


@given(directories(), st.data())
def test_what_fix_writes_is_valid(tables: dict[str, dict[str, str]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        write_tables(folder / "whole", tables)
        for table in ("wav.scp", "utt2spk", "text", "reco2dur", *(["segments"] * ("segments" in tables))):
            lines = (folder / "whole" / table).read_text().splitlines(keepends=True)
            lines = data.draw(st.permutations(lines)) + data.draw(
                st.lists(st.sampled_from(lines), max_size=2)
            )
            (folder / "whole" / table).write_text("".join(lines[data.draw(st.integers(0, 2)) :]))
        try:
            fix_data_dir(folder / "whole", folder / "fixed", check_files=False)
        except InputError as error:
            assert "no utterance is in all tables" in str(error)
            return
        assert validate_data_dir(folder / "fixed", check_files=False) == []
