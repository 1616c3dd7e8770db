"""Powerset classes."""

from __future__ import annotations

from itertools import product

import pytest

from sdpn.models.powerset import membership, num_classes


def test_three_speakers_of_whom_two_speak_together() -> None:
    expected = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]
    assert membership(3, 2).tolist() == expected
    assert num_classes(3, 2) == 7


@pytest.mark.parametrize(("speakers", "together"), [(1, 1), (2, 2), (4, 2), (4, 3)])
def test_every_set_once(speakers: int, together: int) -> None:
    found = {tuple(int(value) for value in row) for row in membership(speakers, together).tolist()}
    assert found == {sets for sets in product((0, 1), repeat=speakers) if sum(sets) <= together}
    assert num_classes(speakers, together) == len(found)
