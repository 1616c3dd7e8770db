"""sdpn.io.trials: both ways to write a trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io import trials as module
from sdpn.io.trials import Trials, read_trials


def rows(trials: Trials) -> list[tuple[bool, str, str]]:
    return [
        (bool(label), trials.ids[first], trials.ids[second])
        for label, first, second in zip(trials.is_target, trials.first, trials.second, strict=True)
    ]


def test_both_layouts_say_the_same(tmp_path: Path) -> None:
    voxceleb, kaldi = tmp_path / "voxceleb", tmp_path / "kaldi"
    voxceleb.write_text("1 a/1.wav a/2.wav\n\n0 a/1.wav b/1.wav\n")
    kaldi.write_text("a/1.wav a/2.wav target\na/1.wav\tb/1.wav\tnontarget")
    expected = [(True, "a/1.wav", "a/2.wav"), (False, "a/1.wav", "b/1.wav")]
    for path in (voxceleb, kaldi):
        trials = read_trials(path)
        assert rows(trials) == expected
        assert sorted(trials.ids) == ["a/1.wav", "a/2.wav", "b/1.wav"]
        assert len(trials) == 2
        assert trials.is_target.dtype == bool
    assert read_trials(voxceleb).lines.tolist() == [1, 3]


def test_an_utterance_may_be_called_like_a_label(tmp_path: Path) -> None:
    path = tmp_path / "trials"
    path.write_text("1 0 target\n0 1 nontarget\n")  # Kaldi's, of utterances '1' and '0'
    assert rows(read_trials(path)) == [(True, "1", "0"), (False, "0", "1")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1 a b\n2 a b\n", 2, "expected '1' or '0', found '2'"),
        ("1 a b\n\na b target\n", 3, "expected '1' or '0', found 'a'"),
        ("a b target\na b impostor\n", 2, "expected 'target' or 'nontarget', found 'impostor'"),
        ("a b target\n1 a b\n", 2, "expected 'target' or 'nontarget', found 'b'"),
        ("1 a b\n1 a b c\n", 2, "expected 3 fields, found 4"),
        ("1 a\n", 1, "expected 3 fields, found 2"),
        ("x" + " y" * 300, 1, "expected 3 fields, found 301"),
        ("1 a b\n" * 5 + "target a b", 6, "expected '1' or '0', found 'target'"),
    ],
)
def test_a_malformed_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, message: str
) -> None:
    path = tmp_path / "trials"
    path.write_text(text)
    for block in (1 << 14, 2):  # the place is right in every block
        monkeypatch.setattr(module, "_BLOCK_LINES", block)
        with pytest.raises(InputError, match=message) as caught:
            read_trials(path)
        assert (caught.value.path, caught.value.line) == (str(path), line)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_trials_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trials").write_text(text)
    with pytest.raises(InputError, match="contains no trials"):
        read_trials(tmp_path / "trials")


def test_the_real_ones(shared_data: Path) -> None:
    path = shared_data / "speechocean762" / "dev_trials"
    trials = read_trials(path)
    assert (int(trials.is_target.sum()), len(trials)) == (2835, 2835 + 28350)
    lines = path.read_text().splitlines()
    assert sorted(trials.ids) == sorted({name for line in lines for name in line.split()[1:]})
    for at in (0, 17, 20000, len(lines) - 1):
        label, first, second = rows(trials)[at]
        assert f"{int(label)} {first} {second}" == lines[at]


TRIALS = st.lists(
    st.tuples(st.booleans(), *[st.from_regex(r"[a-c0-9/.é]{1,3}", fullmatch=True)] * 2), min_size=1
)


@given(trials=TRIALS, is_kaldi=st.booleans(), block=st.integers(1, 5))
def test_what_is_written_reads_back(
    tmp_path: Path, trials: list[tuple[bool, str, str]], is_kaldi: bool, block: int
) -> None:
    path = tmp_path / "written"
    if is_kaldi:
        path.write_text("".join(f"{a} {b} {'target' if same else 'nontarget'}\n" for same, a, b in trials))
    else:
        path.write_text("".join(f"{int(same)} {a} {b}\n" for same, a, b in trials))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_LINES", block)
        read = read_trials(path)
    assert rows(read) == trials
    assert len(set(read.ids)) == len(read.ids)
    np.testing.assert_array_equal(read.lines, np.arange(1, len(trials) + 1))


@given(content=st.one_of(st.binary(max_size=100), st.text("01 ab\nget", max_size=60).map(str.encode)))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random"
    path.write_bytes(content)
    try:
        read_trials(path)
    except InputError as error:
        assert error.path == str(path)
