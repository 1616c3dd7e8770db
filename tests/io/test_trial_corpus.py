"""Utterances under the ids of their trials: stems, or paths with and without suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.io.trial_corpus import utterances_of_trials


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("A/one.wav", "A/two.flac", "B/three.wav"):
        (tmp_path / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / name).touch()
    return tmp_path / "dev"


def trials(corpus: Path, text: str) -> Path:
    path = corpus.parent / "trials"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "names",
    [("one", "two", "three"), ("A/one", "A/two", "B/three"), ("A/one.wav", "A/two.flac", "B/three.wav")],
)
def test_the_trials_decide_what_files_are_called(names: tuple[str, ...], corpus: Path) -> None:
    path = trials(corpus, f"1 {names[0]} {names[1]}\n0 {names[0]} {names[2]}\n")
    found = {each.id: (each.path.name, each.speaker) for each in utterances_of_trials(corpus, path)}
    assert found == dict(zip(names, (("one.wav", "A"), ("two.flac", "A"), ("three.wav", "B")), strict=True))


def test_missing_and_ambiguous_names(corpus: Path) -> None:
    path = trials(corpus, "1 A/one A/five\n0 A/four B/three\n")
    with pytest.raises(InputError, match=r"2 of the 4 utterances .* such as 'A/five'"):
        utterances_of_trials(corpus, path)
    (corpus / "B/one.wav").touch()
    with pytest.raises(InputError, match="'one' matches more than one file") as caught:
        utterances_of_trials(corpus, trials(corpus, "1 one two\n"))
    assert caught.value.path == str(path)
