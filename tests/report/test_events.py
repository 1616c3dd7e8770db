"""Event files written by the real SummaryWriter, read back."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.report.events import Histogram, read_event_log


@pytest.fixture(scope="module")
def writer_class():
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter


def _only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_scalars_histograms_and_pictures_come_back(writer_class, tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    with writer_class(str(tmp_path)) as writer:
        for step in (0, 10, 20):
            writer.add_scalar("loss/ce", 1.5 * step, step)
        writer.add_scalar("loss/bad", float("nan"), 0)
        writer.add_histogram("prototypes/usage", values, 10)
        writer.add_image("prototypes/similarity", np.zeros((1, 4, 6), dtype=np.float32), 20)
        writer.add_text("ignored", "text", 0)
    log = read_event_log(tmp_path)
    assert log.scalars["loss/ce"] == {0: 0.0, 10: 15.0, 20: 30.0}
    assert math.isnan(log.scalars["loss/bad"][0])
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    found = log.histograms["prototypes/usage"][10].quantiles(levels)
    np.testing.assert_allclose(
        found, np.quantile(values, levels), atol=0.06
    )  # as wide as TensorBoard's buckets
    picture = log.pictures["prototypes/similarity"][20]
    assert (picture.width, picture.height) == (6, 4)
    assert picture.encoded.startswith(b"\x89PNG")


def test_agrees_with_tensorboards_own_reader(writer_class, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with writer_class(str(tmp_path)) as writer:
        for step in range(50):
            writer.add_scalar("a", math.sin(step), step)
            writer.add_scalar("b/c", step**2, 3 * step)
    theirs = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    theirs.Reload()
    ours = read_event_log(tmp_path).scalars
    assert sorted(ours) == sorted(theirs.Tags()["scalars"])
    for tag, series in ours.items():
        assert series == {event.step: event.value for event in theirs.Scalars(tag)}


def test_a_resumed_run_replaces_what_the_killed_one_logged_later(writer_class, tmp_path) -> None:
    for number, (steps, purge, value) in enumerate([((0, 10, 20), None, 1.0), ((10, 15), 10, 2.0)]):
        with writer_class(str(tmp_path), purge_step=purge, filename_suffix=f".{number}") as writer:
            for step in steps:
                writer.add_scalar("loss", value, step)
    # the two were made within a second, so their names do not tell their order reliably
    for number, file in enumerate(sorted(tmp_path.iterdir(), key=lambda file: file.suffix)):
        file.rename(tmp_path / f"events.out.tfevents.{number}")
    assert read_event_log(tmp_path).scalars == {"loss": {0: 1.0, 10: 2.0, 15: 2.0}}


def test_an_unfinished_last_record_is_left_out(writer_class, tmp_path) -> None:
    with writer_class(str(tmp_path)) as writer:
        writer.add_scalar("loss", 1.0, 0)
        writer.add_scalar("loss", 2.0, 1)
    file = _only_file(tmp_path)
    file.write_bytes(file.read_bytes()[:-7])
    assert read_event_log(tmp_path).scalars == {"loss": {0: 1.0}}


def test_a_damaged_record_is_named_with_its_place(writer_class, tmp_path) -> None:
    with writer_class(str(tmp_path)) as writer:
        writer.add_scalar("loss", 1.0, 0)
    file = _only_file(tmp_path)
    data = bytearray(file.read_bytes())
    (first,) = struct.unpack_from("<Q", data)
    data[first + 16 + 12] = 0xFF  # the first byte of the second event: a field type that does not exist
    file.write_bytes(data)
    with pytest.raises(InputError, match=f"is damaged at byte {first + 16}"):
        read_event_log(tmp_path)


def test_a_file_of_something_else_is_named(tmp_path) -> None:
    (tmp_path / "events.out.tfevents.1").write_text("this is no event file at all")
    with pytest.raises(InputError, match="is not a TensorBoard event file"):
        read_event_log(tmp_path)


def test_quantiles_of_evenly_filled_buckets() -> None:
    # 10 values in 0 to 1 and 30 in 1 to 2: a quarter lies below 1, the half at 1 + 1/3
    histogram = Histogram(0.0, 2.0, np.array([1.0, 2.0, np.inf]), np.array([10.0, 30.0, 0.0]))
    np.testing.assert_allclose(histogram.quantiles(np.array([0.125, 0.25, 0.5, 1.0])), [0.5, 1, 4 / 3, 2])
    empty = Histogram(0.0, 0.0, np.array([0.0]), np.array([0.0]))
    assert np.isnan(empty.quantiles(np.array([0.5]))).all()
