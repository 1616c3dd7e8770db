"""A search of settings over trainings that are counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdpn.errors import InputError
from sdpn.experiments.search import Searched, choice_as_yaml, search
from sdpn.tuning.proposals import propose
from sdpn.tuning.values import Range, Space


class Trainings:
    """Pretended trainings: the figure is how far ``x`` is from 2; ``x=13`` has a loss that is NaN."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.folders: list[str] = []
        self._stop_at = stop_at

    def __call__(self, settings: Mapping[str, object], out: Path) -> dict[str, Any]:
        """Run one."""
        if len(self.folders) == self._stop_at:
            raise KeyboardInterrupt
        self.folders.append(out.name)
        if settings.get("x") == 13:
            raise InputError("the loss is NaN")
        return {"figure": abs(float(settings.get("x", 5)) - 2), "model": str(out)}  # type: ignore[arg-type]


def searched(trainings: Trainings, space: Space, out: Path, **more: Any) -> Searched:
    """A random search."""
    settings: dict[str, Any] = {"made_from": "x", "smallest": True, **more}
    return search(
        propose("random", space, runs=6, seed=0, smallest=settings["smallest"]),
        lambda changed: str(changed.get("x", 5)),
        trainings,
        lambda results: float(results["figure"]),
        out,
        **settings,
    )


def test_the_best_is_chosen_and_a_failed_run_is_kept(tmp_path: Path) -> None:
    found = searched(Trainings(), {"x": [1, 2, 13]}, tmp_path)
    assert found.trials[0].settings == {} and found.trials[0].figure == 3
    assert found.best.settings == {"x": 2} and found.best.figure == 0
    (failed,) = [one for one in found.trials if one.figure is None]
    assert failed.settings == {"x": 13} and "NaN" in failed.error
    assert searched(Trainings(), {"x": [1, 2, 7]}, tmp_path / "b", smallest=False).best.settings == {"x": 7}


def test_what_changes_nothing_is_not_run(tmp_path: Path) -> None:
    trainings = Trainings()
    found = searched(trainings, {"x": [5, 1]}, tmp_path)
    assert len(found.trials) == 2 == len(trainings.folders)


def test_a_stopped_search_goes_on_to_the_same_table(tmp_path: Path) -> None:
    space: Space = {"x": Range(0, 10, False, False)}
    whole = searched(Trainings(), space, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        searched(Trainings(stop_at=3), space, tmp_path / "parts")
    rest = Trainings()
    found = searched(rest, space, tmp_path / "parts")
    assert rest.folders == ["003", "004", "005"]  # and none of the first three
    assert [(one.settings, one.figure, one.folder) for one in found.trials] == [
        (one.settings, one.figure, one.folder) for one in whole.trials
    ]
    assert len((tmp_path / "parts" / "trials.jsonl").read_text().splitlines()) == 7
    with pytest.raises(InputError, match="another --out, or --force"):
        searched(Trainings(), space, tmp_path / "parts", made_from="other")
    (tmp_path / "parts/runs/000").mkdir(parents=True)
    again = Trainings()
    searched(again, space, tmp_path / "parts", made_from="other", force=True)
    assert len(again.folders) == 6
    assert not (tmp_path / "parts/runs/000").exists()  # what a training would go on from


def test_a_training_that_fails_as_given_is_no_run_of_the_search(tmp_path: Path) -> None:
    def fails(_settings: Mapping[str, object], _out: Path) -> dict[str, Any]:
        raise InputError("no such data")

    with pytest.raises(InputError, match="no such data"):
        searched(fails, {"x": [1]}, tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "trials.jsonl").exists()


def test_the_choice_is_a_configuration(tmp_path: Path) -> None:
    text = choice_as_yaml({"optimizer.lr": 0.1, "optimizer.kind": "sgd", "seed": 1}, tmp_path / "a.yaml")
    assert yaml.safe_load(text) == {
        "base": str(tmp_path / "a.yaml"),
        "optimizer": {"lr": 0.1, "kind": "sgd"},
        "seed": 1,
    }
    assert yaml.safe_load(choice_as_yaml({}, None)) == {}
