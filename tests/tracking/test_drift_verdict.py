"""The verdict on prototypes with known movements."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdpn.tracking.drift_curves import drift_curves
from sdpn.tracking.drift_verdict import DriftState, DriftVerdict, describe_usage, judge_drift
from sdpn.tracking.prototype_history import Usage


def at_angles(*angles_deg: float, length: float = 1.0) -> Tensor:
    """Prototypes (K, 2) in the plane."""
    angles = torch.tensor(angles_deg, dtype=torch.float64).deg2rad()
    return length * torch.stack([angles.cos(), angles.sin()], 1)


def of(*snapshots: tuple[int, Tensor], unit: str = "step", moved_deg: float = 0.2) -> DriftVerdict:
    return judge_drift(
        drift_curves(snapshots), unit=unit, dimension=snapshots[0][1].shape[1], moved_deg=moved_deg
    )


def test_all_turn() -> None:
    verdict = of((0, at_angles(0, 90, 180)), (1600, at_angles(30, 120, 210)))
    assert verdict.state is DriftState.TRAINED
    assert verdict.sentence == (  # 1 − cos 30° = 0.134
        "The prototypes are being trained: all 3 have turned since step 0, by 30° on average (cosine drift "
        "0.13)."
    )
    assert verdict.remarks == ()
    assert verdict.has_moved_K.all()


def test_some_stand_still() -> None:
    verdict = of((1, at_angles(0, 90, 180, 270)), (5, at_angles(4, 86, 180.1, 270)), unit="epoch")
    assert verdict.state is DriftState.TRAINED
    assert verdict.sentence == (  # angles 4, 4, 0.1 and 0: mean 2.025; (2 (1 − cos 4°)) / 4 = 0.0012
        "The prototypes are being trained: 2 of 4 have turned since epoch 1, by 2° on average (cosine drift "
        "0.0012); 2 have not moved."
    )
    assert verdict.has_moved_K.tolist() == [True, True, False, False]
    assert of((1, at_angles(0)), (5, at_angles(0.1)), moved_deg=0.05).has_moved_K.tolist() == [True]


def test_one_that_came_back_has_moved() -> None:
    verdict = of((0, at_angles(0, 90)), (5, at_angles(50, 90.5)), (9, at_angles(0, 91)))
    assert verdict.has_moved_K.tolist() == [True, True]


def test_bit_for_bit_the_same() -> None:
    same = at_angles(0, 90)
    verdict = of((200, same), (1600, same.clone()))
    assert verdict.state is DriftState.NOT_TRAINED
    assert verdict.sentence == (
        "The prototypes are NOT being trained: all 2 are bitwise identical at steps 200 and 1600."
    )
    verdict = of((1, same), (11, same), (21, same), unit="epoch")
    assert verdict.sentence.endswith("bitwise identical at all 3 checkpoints from epoch 1 to 21.")
    assert not verdict.has_moved_K.any()


@pytest.mark.parametrize("after", [at_angles(0.15, 90), at_angles(0, 90, length=0.9)])
def test_small_drift_is_distinguished_from_none(after) -> None:
    verdict = of((0, at_angles(0, 90)), (10, after))
    assert verdict.state is DriftState.HARDLY
    assert verdict.sentence.startswith(
        "The prototypes HARDLY move: since step 0 none of the 2 has turned by more than 0.2° (the largest "
    )
    assert "though they are not bitwise identical" in verdict.sentence


def test_moved_and_then_stopped() -> None:
    moved = at_angles(20, 110)
    verdict = of((0, at_angles(0, 90)), (200, at_angles(5, 95)), (400, moved), (600, moved), (800, moved))
    assert verdict.state is DriftState.STOPPED
    assert verdict.sentence == (
        "The prototypes are NO LONGER being trained: they turned by 20° on average from step 0 to 400, and "
        "are bitwise identical from there to step 800."
    )


def test_stood_still_at_first_and_moves_now() -> None:
    start = at_angles(0, 90)
    verdict = of((0, start), (200, start), (400, at_angles(9, 99)))
    assert verdict.state is DriftState.TRAINED


def test_few_move() -> None:
    verdict = of((0, at_angles(0, 90, 180)), (10, at_angles(40, 90, 180)))
    assert verdict.state is DriftState.FEW
    assert verdict.sentence == (
        "Most prototypes are NOT being trained: since step 0 only 1 of 3 has turned by more than 0.2°."
    )


def test_one_checkpoint_is_not_enough() -> None:
    verdict = of((150, at_angles(0, 90)))
    assert verdict.state is DriftState.UNKNOWN
    assert "A single checkpoint does not show whether the prototypes are being trained" in verdict.sentence


def test_remarks_about_the_last_two_checkpoints() -> None:
    start, middle = at_angles(0, 90), at_angles(30, 120)
    settled = of((0, start), (5, middle), (9, at_angles(30.1, 119.9)))
    assert settled.state is DriftState.TRAINED
    assert settled.remarks == (
        "None turned by more than 0.2° between the last two checkpoints (steps 5 and 9): the learning rate "
        "is near its minimum, or training has converged.",
    )
    partly = of((0, start), (5, middle), (9, at_angles(30, 140)))
    assert partly.remarks == (
        "1 that had moved before has not changed at all between the last two checkpoints (steps 5 and 9).",
    )


def test_prototypes_that_were_drawn_anew_are_noticed() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.empty(64, 32).uniform_(-1, 1, generator=generator) for _ in range(2))
    nudged = first + 0.3 * torch.randn(64, 32, generator=generator)
    verdict = of((1, first), (11, nudged), (21, second), (31, second * 1.1 + 0.1), unit="epoch")
    assert len(verdict.remarks) == 1
    assert verdict.remarks[0].startswith("Between epochs 11 and 21 they changed completely")


def usage(*share: float, rows: int | None = 1000, steps: int = 50) -> Usage:
    return Usage(torch.tensor(share), 1600, steps, rows)


def test_the_dead() -> None:
    assert describe_usage(usage(0.6, 0.4)).startswith(
        "0 of 2 prototypes are dead: less than a tenth of an equal share of the teacher's assignments, in 50 "
        "steps (1,000 rows) counted by the checkpoint of step 1600."
    )
    assert describe_usage(usage(0.99, 0.01, rows=None, steps=1)).startswith("1 of 2 prototypes is dead: ")
    assert "in 1 step counted" in describe_usage(usage(0.99, 0.01, rows=None, steps=1))
    assert "is unknown: no checkpoint stores the teacher's assignments" in describe_usage(None)


def test_the_dead_of_a_few_rows_are_an_upper_bound() -> None:
    assert describe_usage(usage(0.99, 0.01, rows=1)).endswith("this is an upper bound.")
    assert "upper bound" not in describe_usage(usage(0.99, 0.01, rows=2))  # 2 ln 2 = 1.4
    assert "upper bound" not in describe_usage(usage(0.6, 0.4, rows=1))  # none is dead in any case
