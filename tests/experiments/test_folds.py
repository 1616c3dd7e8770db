"""Folds of data directories, and the ones that cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.experiments.folds import write_folds
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from sdpn.io.trials import read_trials


def corpus(folder: Path, counts: list[int], gender: str = "") -> Path:
    """Speakers with so many utterances each, all of one empty file."""
    folder.mkdir()
    (folder / "a.wav").touch()
    write_data_dir(
        folder,
        [
            Utterance(f"s{who:02}-{number:02}", folder / "a.wav", speaker=f"s{who:02}")
            for who, count in enumerate(counts)
            for number in range(count)
        ],
    )
    if gender:
        lines = [f"s{who:02} {gender[who]}\n" for who in range(len(counts))]
        (folder / "spk2gender").write_text("".join(lines))
    return folder


def test_every_speaker_is_tested_once_and_never_trained_on_then(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", [4] * 12, gender="fm" * 6)
    folds = write_folds(data, tmp_path / "folds", 3, by="speaker", seed=0)
    tested: list[str] = []
    for fold in folds:
        test = {one.speaker for one in read_data_dir(fold.test)}
        train = {one.speaker for one in read_data_dir(fold.train)}
        assert len(test) == 4 and len(train) == 8 and not test & train
        assert sum(int((who or "")[1:]) % 2 for who in test) == 2  # as many women as men
        trials = read_trials(fold.test / "trials")
        same = [
            trials.ids[a][:3] == trials.ids[b][:3] for a, b in zip(trials.first, trials.second, strict=True)
        ]
        assert same == trials.is_target.tolist() and sum(same) == 4 * 6  # all pairs of four utterances
        # of 6 pairs of speakers with 16 pairs of utterances each there are 96, and 240 are wanted
        assert len(trials) - sum(same) == pytest.approx(96, abs=3)
        pairs = {
            frozenset((a, b)) for a, b in zip(trials.first.tolist(), trials.second.tolist(), strict=True)
        }
        assert len(pairs) == len(trials)
        tested += [who or "" for who in test]
    assert sorted(tested) == [f"s{who:02}" for who in range(12)]


def test_every_utterance_is_tested_once_but_single_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = corpus(tmp_path / "data", [6, 3, 1])
    folds = write_folds(data, tmp_path / "folds", 3, by="utterance", seed=0)
    tested = [one.id for fold in folds for one in read_data_dir(fold.test)]
    assert len(tested) == len(set(tested)) == 9 and "s02-00" not in tested
    assert "1 speakers have one utterance" in caplog.text and "'s02'" in caplog.text
    for fold in folds:
        assert "s02-00" in {one.id for one in read_data_dir(fold.train)}
        assert sorted(one.id[:3] for one in read_data_dir(fold.test)) == ["s00", "s00", "s01"]


def test_folds_are_reproducible_and_seeded(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", [3] * 10)

    def text(out: str, seed: int) -> str:
        (fold, _) = write_folds(data, tmp_path / out, 2, by="speaker", seed=seed)
        return (fold.test / "trials").read_text()

    assert text("a", 0) == text("b", 0) != text("c", 1)
    assert text("a", 0) == text("a", 0)  # kept
    with pytest.raises(InputError, match="folds of other data, another number or another seed"):
        text("a", 1)


@pytest.mark.parametrize(
    ("counts", "folds", "by", "message"),
    [
        ([4, 4, 4], 2, "speaker", "3 speakers, of whom 3 have two utterances"),
        ([2, 1, 1, 1, 1, 1], 2, "speaker", "of whom 1 have two utterances"),
        ([3, 2], 4, "utterance", "'s00', has 3"),
    ],
)
def test_folds_that_cannot_be_made_are_said(
    tmp_path: Path, counts: list[int], folds: int, by: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_folds(corpus(tmp_path / "data", counts), tmp_path / "out", folds, by=by, seed=0)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_directory_without_speakers_has_no_folds(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", [4] * 4)
    for name in ("utt2spk", "spk2utt"):
        (data / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="no utt2spk"):
        write_folds(data, tmp_path / "out", 2, by="speaker", seed=0)
