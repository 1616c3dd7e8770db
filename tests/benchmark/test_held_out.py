"""What training leaves out is what the benchmark uses, and nothing else."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from sdpn.benchmark.held_out import LIBRISPEECH_SPEAKERS, is_held_out_sound, is_held_out_speaker
from sdpn.benchmark.plan import held_out_sounds
from sdpn.errors import InputError
from sdpn.io.corpus import find_audio


@pytest.mark.parametrize(
    ("name", "held_out"),
    [
        ("rain/4-149294-A.opus", True),
        ("rain/4-149294-B.opus", True),  # another take of one recording is on one side with it
        ("dog/4-1.wav", True),
        ("rain/1-17367-A.opus", False),
        ("rain/5-17367-A.opus", False),
        ("house/cinema-hallway.flac", True),
        ("cinema-room.wav", True),
        ("kitchen.flac", False),
        ("kitchen-true-stereo.flac", False),
        ("dining-room.flac", False),
        ("living-bathroom.flac", False),
    ],
)
def test_the_name_decides(name: str, held_out: bool) -> None:
    assert is_held_out_sound(name) == is_held_out_sound(PurePath("/elsewhere") / name) == held_out


def test_about_a_quarter_of_any_corpus() -> None:
    assert 400 < sum(is_held_out_sound(f"noise{number}.wav") for number in range(2000)) < 600


def test_speaker_numbers_of_librispeech_apply_to_librispeech_only() -> None:
    assert is_held_out_speaker(PurePath("/corpora/LibriSpeech/train-clean-100"), "32")
    assert not is_held_out_speaker(PurePath("/corpora/librispeech_excerpt/train"), "19")
    assert not is_held_out_speaker(PurePath("/corpora/speechocean762/train"), "32")


def test_sounds_without_a_held_out_one(tmp_path: Path) -> None:
    (tmp_path / "1-1-A.wav").touch()
    with pytest.raises(InputError, match="no recording that is held out"):
        held_out_sounds(tmp_path)


def test_the_shared_corpora(shared_data: Path) -> None:
    noises = find_audio(shared_data / "noise")
    assert sum(map(is_held_out_sound, noises)) == 64  # a fold of five
    rooms = [path.name for path in find_audio(shared_data / "rir") if is_held_out_sound(path)]
    assert rooms == ["cinema-diningroom.flac", "cinema-hallway.flac", "cinema-room.flac"]
    folder = shared_data / "librispeech_excerpt/more"
    assert {path.name for path in folder.iterdir()} >= LIBRISPEECH_SPEAKERS
