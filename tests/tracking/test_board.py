"""The tags on the board are an interface: they are pinned here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdpn.tracking.board import MAX_DRAWN, Board


def test_prototype_tags_and_values(tmp_path: Path) -> None:
    board = Board(tmp_path, start_step=0)
    initial = torch.eye(4)
    now = initial.clone()
    now[0] = torch.tensor([0.0, 0.0, 0.0, 1.0])  # the first has turned by 90° onto the last
    board.prototypes(
        5, now_KE=now, initial_KE=initial, previous_KE=now, usage_K=torch.tensor([0.5, 0.5, 0.0, 0.0])
    )
    board.text("configuration", "steps: 5")
    board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    values = {tag: events.Scalars(tag)[0].value for tag in tags["scalars"]}
    assert values == pytest.approx(
        {
            "prototypes/drift_initial_mean": 0.25,
            "prototypes/drift_initial_max": 1.0,
            "prototypes/drift_previous_mean": 0.0,
            "prototypes/drift_previous_max": 0.0,
            "prototypes/nearest_cosine_mean": 0.5,
            "prototypes/effective_rank": values["prototypes/effective_rank"],
            "prototypes/usage_perplexity": 2.0,
            "prototypes/dead": 2.0,
        },
        abs=1e-6,
    )
    assert set(tags["histograms"]) == {
        "prototypes/usage",
        "prototypes/drift_initial",
        "prototypes/drift_previous",
    }
    assert tags["images"] == ["prototypes/similarity"]


def test_the_picture_of_many_prototypes_stays_small(tmp_path: Path) -> None:
    """With classes as prototypes there are thousands."""
    board = Board(tmp_path, start_step=0)
    many_KE = torch.randn(MAX_DRAWN + 200, 4, generator=torch.Generator().manual_seed(0))
    share_K = torch.full((len(many_KE),), 1 / len(many_KE))
    board.prototypes(5, now_KE=many_KE, initial_KE=many_KE, previous_KE=many_KE, usage_K=share_K)
    board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (image,) = events.Images("prototypes/similarity")
    assert (image.width, image.height) == (MAX_DRAWN, MAX_DRAWN)


def test_a_resumed_board_hides_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    first = Board(tmp_path, start_step=0)
    for step in range(1, 9):
        first.scalars(step, {"loss/total": float(step)})
    first.close()
    time.sleep(1.1)  # the files of a run are read in the order of their names, which hold the second
    second = Board(tmp_path, start_step=5)
    second.scalars(6, {"loss/total": -6.0})
    second.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    points = {event.step: event.value for event in events.Scalars("loss/total")}
    assert points == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: -6}  # what the checkpoint came after stays
