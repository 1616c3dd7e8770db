"""What a search tries next."""

from __future__ import annotations

import math

import pytest

from sdpn.errors import InputError
from sdpn.tuning.proposals import Strategy, propose
from sdpn.tuning.values import Range, Space


def tried(strategy: Strategy, space: Space, runs: int | None, *, seed: int = 0) -> list[dict[str, object]]:
    """All proposals, where the figure is how far ``x`` is from 3, and ``y=b`` costs one more."""
    proposals = propose(strategy, space, runs=runs, seed=seed, smallest=True)
    found = [next(proposals)]
    while True:
        last = found[-1]
        figure = abs(float(last.get("x", 10)) - 3) + (last.get("y") == "b")  # type: ignore[arg-type]
        try:
            found.append(proposals.send(figure))
        except StopIteration:
            return found


def test_a_grid_is_every_combination_after_the_training_as_given() -> None:
    found = tried("grid", {"x": [1, 2], "y": ["a", "b"]}, None)
    assert found[0] == {}
    assert found[1:] == [{"x": x, "y": y} for x in (1, 2) for y in ("a", "b")]
    assert tried("grid", {"x": [1, 2, 3]}, 3) == [{}, {"x": 1}, {"x": 2}]


def test_random_draws_are_reproducible_and_without_repetition() -> None:
    space: Space = {"x": [1, 2], "y": ["a", "b"]}
    found = tried("random", space, 100)
    assert len(found) == 5 and sorted(map(str, found[1:])) == sorted(map(str, tried("grid", space, None)[1:]))
    wide: Space = {"x": Range(0, 10, False, False)}
    assert tried("random", wide, 8) == tried("random", wide, 8) != tried("random", wide, 8, seed=1)


def test_optuna_is_reproducible_and_comes_nearer_than_chance() -> None:
    pytest.importorskip("optuna")
    space: Space = {"x": Range(0, 10, False, False), "y": ["a", "b"]}
    found = tried("optuna", space, 40)
    assert found == tried("optuna", space, 40)
    late = [abs(float(one["x"]) - 3) for one in found[21:]]  # type: ignore[arg-type]
    assert sum(late) / len(late) < 1.5  # of draws all over: (3 ** 2 + 7 ** 2) / 20 = 2.9
    assert sum(one["y"] == "a" for one in found[21:]) > 12


def test_a_failed_run_is_told_to_optuna() -> None:
    pytest.importorskip("optuna")
    proposals = propose("optuna", {"x": Range(0, 1, False, False)}, runs=4, seed=0, smallest=True)
    next(proposals)
    assert all("x" in proposals.send(math.nan) for _ in range(3))
    with pytest.raises(StopIteration):
        proposals.send(math.nan)


def test_a_search_without_an_end_is_refused() -> None:
    with pytest.raises(InputError, match="--runs N"):
        propose("random", {"x": [1]}, runs=None, seed=0, smallest=True)
    proposals = propose("grid", {"x": Range(0, 1, False, False)}, runs=None, seed=0, smallest=True)
    next(proposals)
    with pytest.raises(InputError, match="x is a range"):
        proposals.send(0.0)
