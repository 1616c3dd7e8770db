"""The data of a step depends on the step alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
import torch

from sdpn.augmentation.augment import PRESETS, AugmentationConfig, Augmenter
from sdpn.data.crops import CropBatch, CropConfig
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.data.sampler import Mixture, StepSampler
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance

_CROPS = CropConfig(num_global=1, global_s=0.5, num_local=2, local_s=0.25)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for index in range(7):
        soundfile.write(folder / f"{index}.flac", rng.standard_normal(4000 + 3000 * index) * 0.1, 16000)
    return [Utterance(str(index), folder / f"{index}.flac") for index in range(7)]


def _dataset(utterances: list[Utterance], cache_mb: int = 10) -> CropDataset:
    return CropDataset(utterances, _CROPS, Augmenter(AugmentationConfig()), seed=3, cache_mb=cache_mb)


def _batches(utterances: list[Utterance], start: int, end: int, workers: int = 0) -> list[CropBatch]:
    return list(
        load_batches(
            _dataset(utterances), batch_size=3, seed=3, start_step=start, end_step=end, workers=workers
        )
    )


def _equal(left: list[CropBatch], right: list[CropBatch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b) if a is not None and b is not None else a is b
        for x, y in zip(left, right, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_shapes_and_views_differ(utterances: list[Utterance]) -> None:
    (batch,) = _batches(utterances, 0, 1)
    assert batch.global_GBS.shape == (1, 3, 8000) and batch.local_VBS.shape == (2, 3, 4000)
    assert not torch.equal(batch.local_VBS[0], batch.local_VBS[1])


def test_a_batch_lists_its_utterances(utterances: list[Utterance]) -> None:
    (batch,) = _batches(utterances, 0, 1)
    (items,) = StepSampler(Mixture((7,)), 3, seed=3, start_step=0, end_step=1)
    dataset = _dataset(utterances)
    assert batch.utterance_B.tolist() == [index for _, index in items]
    for place, item in enumerate(items):
        np.testing.assert_array_equal(batch.global_GBS[:, place].numpy(), dataset[item].global_GS)
    first, second = batch.rows(slice(0, 2)), batch.rows(slice(2, 3))
    assert first.local_VBS.shape[1] == 2 and second.utterance_B.tolist() == batch.utterance_B.tolist()[2:]


def test_utterances_together_are_utterances_one_by_one(utterances: list[Utterance]) -> None:
    dataset = _dataset(utterances)
    items = [(epoch, index) for epoch in (0, 1) for index in range(7)]
    for together, item in zip(dataset.__getitems__(items), items, strict=True):
        for left, right in zip(together, dataset[item], strict=True):
            np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("seed", [3, 2**32 + 3])
def test_a_view_draws_from_the_generator_of_its_numbers(utterances: list[Utterance], seed: int) -> None:
    """The place of the teacher's crop, from NumPy's generator of (seed, epoch, utterance, view)."""
    plain = Augmenter(PRESETS["none"])
    dataset = CropDataset(utterances, _CROPS, plain, seed=seed, cache_mb=10)
    first = int(np.random.default_rng((seed, 5, 6, 0)).integers(0, 22000 - 8000 + 1))
    np.testing.assert_allclose(
        dataset[(5, 6)].global_GS[0], utterances[6].read()[first : first + 8000], atol=2e-4
    )


def test_any_start_and_any_number_of_workers_give_the_same_batches(utterances: list[Utterance]) -> None:
    whole = _batches(utterances, 0, 6)
    assert _equal(whole[4:], _batches(utterances, 4, 6))
    assert _equal(whole, _batches(utterances, 0, 6, workers=2))


def test_the_cache_changes_nothing(utterances: list[Utterance]) -> None:
    cached, uncached = _dataset(utterances, cache_mb=10), _dataset(utterances, cache_mb=0)
    for item in [(0, 2), (0, 2), (1, 2)]:
        for left, right in zip(cached[item], uncached[item], strict=True):
            np.testing.assert_array_equal(left, right)


def test_epochs_differ(utterances: list[Utterance]) -> None:
    dataset = _dataset(utterances)
    assert not np.array_equal(dataset[(0, 6)][0], dataset[(1, 6)][0])


def test_a_silent_utterance_gives_its_place_to_one_that_the_batch_does_not_hold(
    utterances: list[Utterance], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "s.wav", np.zeros(9000), 16000)
    silent = Utterance("s", tmp_path / "s.wav")
    with_silence = _dataset([silent, *utterances])
    stand_in = with_silence[(0, 0)].utterance
    assert stand_in > 0
    assert "digitally silent" in caplog.text
    others = [(0, index) for index in range(1, len(with_silence)) if index != stand_in]
    for batch in ([(0, 0), *others], [*others, (0, 0)]):
        served = [views.utterance for views in with_silence.__getitems__(batch)]
        assert len(set(served)) == len(batch)
        assert 0 not in served
    # where the batch holds all others, one occurs twice, but with other crops
    whole = with_silence.__getitems__([(0, index) for index in range(len(with_silence))])
    (twin,) = [views for views in whole[1:] if views.utterance == whole[0].utterance]
    assert not np.array_equal(whole[0].global_GS, twin.global_GS)
    assert not np.array_equal(whole[0].local_VS, twin.local_VS)
    with pytest.raises(InputError, match="every utterance"):
        _dataset([silent])[(0, 0)]


def test_segments_are_read_as_such(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.r_[np.full(16000, 0.1), np.full(16000, 0.5)], 16000)
    late = Utterance("late", tmp_path / "a.wav", 1.0, 2.0)
    views = _dataset([late, late])[(0, 0)]
    np.testing.assert_allclose(views.global_GS, 0.5, atol=1e-3)
    outside = Utterance("outside", tmp_path / "a.wav", 3.0, 4.0)
    with pytest.raises(InputError, match="after the end"):
        _dataset([outside])[(0, 0)]


def _tone(folder: Path) -> Utterance:
    """A long tone of 1 kHz."""
    wave = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000)
    soundfile.write(folder / "tone.wav", wave, 16000)
    return Utterance("tone", folder / "tone.wav")


def _pitches(views: np.ndarray) -> list[float]:
    """Loudest frequency of each view, to 100 Hz."""
    loudest = np.abs(np.fft.rfft(views, axis=1)).argmax(axis=1)
    pitches_hz: list[float] = np.round(loudest * 16000 / views.shape[1], -2).tolist()
    return pitches_hz


def _with_speed(utterance: Utterance, speaker: Literal["new", "same"]) -> CropDataset:
    config = replace(PRESETS["none"], speed_probability=0.7, speed_speaker=speaker)
    crops = replace(_CROPS, num_global=2)
    return CropDataset([utterance], crops, Augmenter(config), seed=0, cache_mb=0)


def test_a_new_speaker_has_one_speed_in_all_crops(tmp_path: Path) -> None:
    dataset = _with_speed(_tone(tmp_path), "new")
    seen: list[float] = []
    for epoch in range(40):
        views = dataset[(epoch, 0)]
        pitches = {*_pitches(views.global_GS), *_pitches(views.local_VS)}
        assert len(pitches) == 1
        seen += pitches
    assert set(seen) == {900.0, 1000.0, 1100.0}
    assert abs(seen.count(1000.0) - 0.3 * 40) < 10


def test_the_same_speaker_has_a_speed_in_each_local_crop(tmp_path: Path) -> None:
    dataset = _with_speed(_tone(tmp_path), "same")
    items = [dataset[(epoch, 0)] for epoch in range(40)]
    assert {pitch for views in items for pitch in _pitches(views.global_GS)} == {1000.0}
    assert any(len(set(_pitches(views.local_VS))) == 2 for views in items)


def test_erasures_come_with_the_batch_and_change_nothing_else(utterances: list[Utterance]) -> None:
    config = AugmentationConfig(erase_probability=0.5)
    erasing = CropDataset(utterances, _CROPS, Augmenter(config), seed=3, cache_mb=10)
    batches = list(load_batches(erasing, batch_size=3, seed=3, start_step=0, end_step=6, workers=0))
    for batch, plain in zip(batches, _batches(utterances, 0, 6), strict=True):
        assert torch.equal(batch.local_VBS, plain.local_VBS) and plain.erasure_VB4 is None
        assert batch.erasure_VB4 is not None and batch.erasure_VB4.shape == (2, 3, 4)
        part = batch.rows(slice(1, 2)).erasure_VB4
        assert part is not None and torch.equal(part, batch.erasure_VB4[:, 1:2])
