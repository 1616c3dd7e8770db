"""Files that go bad while a run goes on are skipped, counted and named, up to a share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.data.bad_files import BadFiles, Fault, TooManyBadFiles
from sdpn.data.crops import CropBatch, CropConfig
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, write_data_dir

_CROPS = CropConfig(num_global=1, global_s=0.5, num_local=2, local_s=0.25)
_BABBLE = AugmentationConfig(babble_probability=1.0)


def _corpus(folder: Path, count: int = 8) -> list[Utterance]:
    rng = np.random.default_rng(0)
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", rng.standard_normal(12000) * 0.1, 16000, subtype="FLOAT")
    return [Utterance(str(index), folder / f"{index}.wav") for index in range(count)]


def _dataset(
    utterances: list[Utterance], share: float, config: AugmentationConfig = _BABBLE, cache_mb: int = 0
) -> CropDataset:
    return CropDataset(utterances, _CROPS, Augmenter(config), seed=0, cache_mb=cache_mb, max_bad_share=share)


def _load(dataset: CropDataset, workers: int = 0, steps: int = 6) -> list[CropBatch]:
    return list(load_batches(dataset, batch_size=4, seed=0, start_step=0, end_step=steps, workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_deleted_while_training_is_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    utterances = _corpus(tmp_path)
    dataset = _dataset(utterances, share=0.25)
    (tmp_path / "3.wav").unlink()
    batches = _load(dataset, workers)
    assert [len(batch.utterance_B) for batch in batches] == [4] * 6
    assert 3 not in torch.cat([batch.utterance_B for batch in batches])
    assert dataset.bad_files.problems == [f"{tmp_path / '3.wav'}: no such audio file"]
    assert caplog.text.count("no such audio file") == 1


def test_no_two_rows_of_a_batch_are_alike_where_files_are_missing(tmp_path: Path) -> None:
    utterances = _corpus(tmp_path, 12)
    dataset = _dataset(utterances, share=0.25)
    for index in (3, 4):
        (tmp_path / f"{index}.wav").unlink()
    first = _load(dataset, steps=9)
    for batch in first:
        rows = [row.numpy().tobytes() for row in batch.global_GBS[0]]
        assert len(set(rows)) == len(rows)
        assert len(set(batch.utterance_B.tolist())) == len(rows)
    again = _load(_dataset(utterances, share=0.25), workers=2, steps=9)
    for batch, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(batch.local_VBS, same.local_VBS)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_more_than_the_share_stops_the_run(tmp_path: Path, workers: int) -> None:
    utterances = _corpus(tmp_path)
    dataset = _dataset(utterances, share=0.25)
    for index in (1, 4, 6):
        (tmp_path / f"{index}.wav").unlink()
    with pytest.raises(
        InputError, match=r"3 of 8 audio files cannot be used, .*max_bad_share=0\.25"
    ) as caught:
        _load(dataset, workers)
    assert all(f"{index}.wav: no such audio file" in str(caught.value) for index in (1, 4, 6))


def test_only_the_first_few_are_named() -> None:
    bad = BadFiles(1000, 0.004)
    faults = [Fault(f"{index}.wav", f"{index}.wav: is empty") for index in range(5)]
    bad.add(faults[:4])
    bad.add(faults[:4])  # the same ones again
    assert len(bad) == 4
    with pytest.raises(TooManyBadFiles, match=r"5 of 1000 .*2\.wav: is empty; and 2 more") as caught:
        bad.add(faults[4:])
    assert "3.wav" not in str(caught.value)


def test_a_continued_run_goes_on_counting(caplog: pytest.LogCaptureFixture) -> None:
    faults = [Fault(f"{index}.wav", f"{index}.wav: is empty") for index in range(3)]
    before, after = BadFiles(100, 0.02), BadFiles(100, 0.02)
    before.add(faults[:2])
    after.restore(before.state())
    after.add(faults[:2], log=True)
    assert after.problems == ["0.wav: is empty", "1.wav: is empty"] and not caplog.text
    with pytest.raises(TooManyBadFiles, match="3 of 100"):
        after.add(faults[2:])


@pytest.mark.parametrize("cache_mb", [0, 10])
def test_samples_that_are_no_numbers_spoil_the_crops_that_hold_them(tmp_path: Path, cache_mb: int) -> None:
    """With a cache and without: a crop that misses them is used."""
    utterances = _corpus(tmp_path, 2)
    wave = np.random.default_rng(1).standard_normal(160000) * 0.1
    wave[:2000] = np.nan
    soundfile.write(tmp_path / "0.wav", wave, 16000, subtype="FLOAT")
    dataset = _dataset(utterances, 0.5, AugmentationConfig(babble_probability=0.0), cache_mb)
    items = [dataset[(epoch, 0)] for epoch in range(60)]
    used = [item.utterance for item in items]
    # a crop of n of 160,000 samples misses the first 2,000 with probability (158,000 - n) / (160,000 - n)
    assert 0 < used.count(1) < 10
    assert all(("NaN" in fault.problem) for item in items for fault in item.faults)
    assert [len(item.faults) for item in items] == used


def test_a_noise_that_is_gone_counts_as_one_file(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    (noise,) = _corpus(tmp_path / "noise", 1)
    write_data_dir(tmp_path / "noise", [noise])
    config = AugmentationConfig(noise=tmp_path / "noise", noise_probability=0.3, babble_probability=0.0)
    dataset = _dataset(_corpus(tmp_path), 0.2, config)
    noise.path.unlink()
    _load(dataset)
    assert dataset.bad_files.problems == [f"{noise.path}: no such audio file"]


def test_a_corpus_of_nothing_but_bad_files(tmp_path: Path) -> None:
    utterances = _corpus(tmp_path, 2)
    for utterance in utterances:
        utterance.path.write_bytes(b"")
    with pytest.raises(InputError, match="silent or cannot be read"):
        _load(_dataset(utterances, share=1.0))


def test_a_corpus_of_one_utterance_that_is_shorter_than_a_crop(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.random.default_rng(0).standard_normal(1000) * 0.1, 16000)
    (batch,) = _load(_dataset([Utterance("short", tmp_path / "short.wav")], share=0.01), steps=1)
    clean = batch.global_GBS[0]
    assert torch.equal(clean[:, :7000], clean[:, 1000:])  # repeated, not padded
    assert clean.abs().amax(dim=1).min() > 0.1
