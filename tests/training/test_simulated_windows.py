"""Windows of simulated conversations: their samples, their truth, and who is in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdpn.augmentation.augment import PRESETS, AugmentationConfig
from sdpn.distill.segmentation import LocalSpeakersConfig
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.training.clean_speech import CleanSpeech, find_clean_speech
from sdpn.training.simulated_windows import SimulatedWindows, SpokenUtterances
from tests.training.speech_table import write_speech

_DRY = PRESETS["none"]
_SETTINGS = LocalSpeakersConfig(window_s=4.0, max_cast=3, silent_share=0.0)


@pytest.fixture(scope="module")
def spoken(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> SpokenUtterances:
    folder = tmp_path_factory.mktemp("speech")
    write_speech(voices, folder)
    utterances = read_data_dir(voices)
    speech = find_clean_speech(utterances, folder, channel=None)
    return SpokenUtterances(utterances, np.arange(24) % 6, speech, (10, 14))


def windows(
    spoken: SpokenUtterances,
    config: LocalSpeakersConfig = _SETTINGS,
    augmentation: AugmentationConfig = _DRY,
    **settings: object,
) -> SimulatedWindows:
    chosen = np.arange(len(spoken.utterances))
    return SimulatedWindows(spoken, chosen, config, augmentation, seed=3, cache_mb=10, **settings)  # type: ignore[arg-type]


def test_a_window_is_a_function_of_seed_epoch_and_utterance(spoken: SpokenUtterances) -> None:
    one, other = windows(spoken), windows(spoken)
    forward = one.__getitems__([(0, 4), (0, 5), (1, 4)])
    backward = other.__getitems__([(1, 4), (0, 5), (0, 4)])[::-1]
    for (wave_S, class_T, _), (again_S, class_again_T, _) in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(wave_S, again_S)
        np.testing.assert_array_equal(class_T, class_again_T)
    assert not np.array_equal(forward[0][0], forward[2][0])
    assert all(wave_S.shape == (64_000,) and len(class_T) == 199 for wave_S, class_T, _ in forward)


def test_the_truth_is_where_the_sound_is(spoken: SpokenUtterances) -> None:
    dataset = windows(spoken)
    loud_where: dict[str, list[float]] = {"speech": [], "none": []}
    for index in range(24):
        wave_S, class_T, _ = dataset.window(0, index)
        if not class_T.any():
            continue  # nobody speaks, and the level is relative to the speech
        centre = np.arange(len(class_T)) * 320 + 200
        level_T = np.array([np.sqrt(np.mean(wave_S[at - 100 : at + 100] ** 2)) for at in centre])
        # 20 dB below the speech; the ambience is at least 30 dB below it
        loud_T = level_T > np.sqrt(np.mean(level_T[class_T > 0] ** 2)) * 10 ** (-20 / 20)
        # a phrase fades within 10 ms beyond its ends
        inside_T = np.convolve(class_T > 0, np.ones(3), mode="same")
        loud_where["speech"] += loud_T[inside_T == 3].tolist()
        loud_where["none"] += loud_T[inside_T == 0].tolist()
    assert len(loud_where["none"]) > 100 and np.mean(loud_where["none"]) < 0.01
    # what is marked and quiet are bridged pauses, and voices that are further away
    assert len(loud_where["speech"]) > 1000 and np.mean(loud_where["speech"]) > 0.8


def test_casts(spoken: SpokenUtterances) -> None:
    dataset = windows(spoken, replace(_SETTINGS, same_corpus=1.0))
    sizes = []
    for index in range(24):
        for epoch in range(4):
            cast = dataset._cast(np.random.default_rng((epoch, index)), index)
            assert str(index % 6) in cast
            sizes.append(len(cast))
            used = {int(each.file.path) for own in cast.values() for each in own}
            assert all(str(utterance % 6) in cast for utterance in used)
    assert set(sizes) == {1, 2, 3}


def test_nobody_speaks_in_silent_windows(spoken: SpokenUtterances) -> None:
    wave_S, class_T, _ = windows(spoken, replace(_SETTINGS, silent_share=1.0)).window(0, 0)
    assert not class_T.any()
    assert np.sqrt(np.mean(wave_S**2)) == pytest.approx(0.1, rel=0.01)  # the ambience, at the usual level


def test_held_out_speakers_are_of_every_corpus(spoken: SpokenUtterances) -> None:
    speakers = np.concatenate([np.arange(10) % 5, 5 + np.arange(14) % 7])
    split = replace(spoken, speaker_N=speakers)
    train_N, held_N = split.split(0.4, 2, seed=0)
    assert sorted([*train_N, *held_N]) == list(range(24))
    assert not set(speakers[train_N]) & set(speakers[held_N])
    held = set(speakers[held_N].tolist())
    assert (len(held & set(range(5))), len(held & set(range(5, 12)))) == (2, 3)
    assert len(set(speakers[split.split(0.0, 4, seed=0)[1]])) == 4
    with pytest.raises(InputError, match="12 speakers with speech; a segmentation network needs 14"):
        split.split(0.1, 7, seed=0)


def test_files_that_cannot_be_read(spoken: SpokenUtterances, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio")
    utterances = [Utterance("bad", tmp_path / "broken.wav"), *list(spoken.utterances)[1:]]
    broken = replace(spoken, utterances=utterances)
    dataset = windows(broken, max_bad_share=0.1)
    _, _, faults = dataset.window(0, 0)
    assert {fault.path for fault in faults} <= {str(tmp_path / "broken.wav")}
    with pytest.raises(InputError, match="audio files cannot be used"):
        strict = windows(broken, max_bad_share=0.0)
        for epoch in range(50):
            strict.window(epoch, 0)


def test_speech_is_found_once(voices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    utterances = read_data_dir(voices)[:3]
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio")
    utterances.append(Utterance("bad", tmp_path / "broken.wav"))
    seen: list[int] = []

    def find() -> CleanSpeech:
        return find_clean_speech(
            utterances,
            tmp_path / "speech",
            channel=None,
            on_progress=lambda _what, done, _of: seen.append(done),
        )

    first = find()
    assert seen == [0, 1, 2, 3]
    assert "broken.wav" in caplog.text
    again = find()
    assert seen == [0, 1, 2, 3]
    assert first.digest == again.digest
    assert first.power_N[3] == 0 and again.of(3).phrases == ()
    utterances[0] = replace(utterances[0], start_s=0.25)  # another stretch is another utterance
    find()
    assert len(seen) == 8


def test_damaged_speech_table(voices: Path, tmp_path: Path) -> None:
    write_speech(voices, tmp_path)
    (tmp_path / "00000.npz").write_bytes((tmp_path / "00000.npz").read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        find_clean_speech(read_data_dir(voices), tmp_path, channel=None)


def test_real_speech(shared_data: Path, tmp_path: Path) -> None:
    """The phrases of read speech: most of it, with the pauses left out."""
    folder = sorted((shared_data / "speechocean762" / "train").iterdir())[0]
    utterances = [Utterance(path.stem, path) for path in sorted(folder.iterdir())[:3]]
    speech = find_clean_speech(utterances, tmp_path / "speech", channel=None)
    for index, utterance in enumerate(utterances):
        found = speech.of(index)
        spoken = sum(end - start for start, end in found.phrases)
        assert 0.3 * len(utterance.read()) < spoken <= len(utterance.read())
        assert all(
            end <= start for (_, end), (start, _) in zip(found.phrases, found.phrases[1:], strict=False)
        )
