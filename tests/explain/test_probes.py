"""Probes: what is there is read off, what is not is at chance, and groups do not leak."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.explain.probes import ProbeTask, principal_components, probe_layer, usable_task


def test_what_is_there_is_read_off_and_shuffled_labels_are_not() -> None:
    rng = np.random.default_rng(0)
    kind_N = rng.integers(0, 3, 300)
    number_N = rng.standard_normal(300)
    rows_ND = 0.3 * rng.standard_normal((300, 20))
    rows_ND[np.arange(300), kind_N] += 1
    rows_ND[:, 10] += number_N
    tasks = [ProbeTask("kind", kind_N.astype(str)), ProbeTask("number", number_N)]
    kind, number = probe_layer(rows_ND, tasks)
    assert kind.score > 0.95 and kind.chance == pytest.approx(1 / 3) and abs(kind.control - 1 / 3) < 0.1
    assert number.score > 0.8 and number.chance == 0 and number.control < 0.1
    assert kind.above_chance == pytest.approx((kind.score - 1 / 3) / (2 / 3))
    # rows without the information
    kind, number = probe_layer(rng.standard_normal((300, 20)), tasks)
    assert abs(kind.score - 1 / 3) < 0.12 and number.score < 0.1


def test_groups_do_not_leak() -> None:
    """Rows tell the speaker, and a speaker has one gender: without groups it would be read off."""
    rng = np.random.default_rng(0)
    speaker_N = np.repeat(np.arange(30), 10)
    gender_N = np.array(["f", "m"])[rng.integers(0, 2, 30)][speaker_N]
    rows_ND = rng.standard_normal((30, 40))[speaker_N] + 0.1 * rng.standard_normal((300, 40))
    (grouped,) = probe_layer(rows_ND, [ProbeTask("gender", gender_N, speaker_N)])
    (leaking,) = probe_layer(rows_ND, [ProbeTask("gender", gender_N)])
    assert leaking.score > 0.95
    assert grouped.score < 0.75


def test_classes_that_are_too_rare_are_left_out() -> None:
    labels = np.array(["a"] * 10 + ["b"] * 10 + ["c"] * 2)
    task = usable_task(ProbeTask("kind", labels))
    assert task is not None and set(task.labels.tolist()) == {"a", "b", ""}
    assert usable_task(ProbeTask("kind", np.array(["a"] * 10 + ["b"]))) is None
    assert usable_task(ProbeTask("kind", labels, np.zeros(22))) is None  # one speaker
    assert usable_task(ProbeTask("number", np.ones(30))) is None
    assert usable_task(ProbeTask("number", np.arange(30.0), np.arange(30) % 4)) is None  # four speakers


@pytest.mark.parametrize("shape", [(40, 200), (300, 30)])
def test_principal_components_keep_distances(shape: tuple[int, int]) -> None:
    rows_ND = np.random.default_rng(0).standard_normal(shape)
    found = principal_components(rows_ND)
    scaled = (rows_ND - rows_ND.mean(0)) / rows_ND.std(0)
    ratio = np.linalg.norm(found[0] - found[1]) / np.linalg.norm(scaled[0] - scaled[1])
    again = np.linalg.norm(found[5] - found[9]) / np.linalg.norm(scaled[5] - scaled[9])
    assert ratio == pytest.approx(again, rel=1e-6)
