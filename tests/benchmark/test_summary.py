"""Figures of cells that were made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.benchmark.figures import Row, Value, table_header, table_row
from sdpn.benchmark.measure import Outcome
from sdpn.benchmark.plan import Cell
from sdpn.benchmark.summary import summarise


def recordings(errors: list[float], totals: list[float], found: list[int], right: list[int]) -> Outcome:
    return {
        "error_s": np.array(errors),
        "total_s": np.array(totals),
        "nist_error_s": np.array(errors) / 2,
        "nist_total_s": np.array(totals),
        "hypothesis_speakers": np.array(found),
        "reference_speakers": np.array(right),
    }


def rows_of(rows: list[Row], **wanted: str) -> dict[str, tuple[Value | None, ...]]:
    return {
        row.figure: row.values
        for row in rows
        if all(getattr(row, name) == value for name, value in wanted.items())
    }


def test_der_and_counts_over_seeds_and_corpora() -> None:
    so, cv = "speechocean762", "commonvoice"
    good = {
        Cell("der", so, "dry", 1): recordings([10, 0], [100, 100], [2, 3], [2, 4]),
        Cell("der", so, "dry", 2): recordings([30, 20], [100, 300], [5, 4], [4, 4]),
        Cell("der", cv, "dry", 1): recordings([8, 8], [100, 100], [2, 2], [2, 2]),
        Cell("der", cv, "dry", 2): recordings([4, 4], [100, 100], [2, 2], [2, 5]),
    }
    worse = {cell: {**outcome, "error_s": outcome["error_s"] + 6} for cell, outcome in good.items()}
    rows = summarise(list(good), [good, worse])
    ours, theirs = rows_of(rows, corpus=so, condition="dry")["DER %, collar 0"]
    assert ours is not None and theirs is not None
    assert ours.value == pytest.approx(100 * 60 / 600)
    assert ours.seeds == pytest.approx((5.0, 12.5))
    assert ours.low is not None and ours.high is not None and ours.low <= ours.value <= ours.high
    assert ours.difference is None
    assert theirs.difference == pytest.approx(100 * 24 / 600)
    # paired: every recording is worse by 6 s, so that the difference only varies with the totals
    assert theirs.difference_low is not None and theirs.difference_low > 0
    figures = rows_of(rows, corpus=so, condition="dry")
    value = {name: values[0].value for name, values in figures.items() if values[0]}
    assert value["DER %, ±0.25 s, no overlap"] == pytest.approx(5.0)
    assert value["exact number of speakers, %"] == 50.0
    assert value["bias of the number of speakers"] == pytest.approx(0.0)  # one too few, one too many
    both = rows_of(rows, corpus="both", condition="dry")
    value = {name: values[0].value for name, values in both.items() if values[0]}
    assert value["DER %, collar 0"] == pytest.approx(100 * 84 / 1000)
    assert value["exact number of speakers, %"] == 62.5
    assert value["bias of the number of speakers"] == pytest.approx(-3 / 8)


def test_the_cost() -> None:
    cell = Cell("cost", "speechocean762", "dry", 1)
    outcome = {"cpu_s": np.array([1.0, 2.0]), "audio_s": np.array([180.0, 180.0])}
    (row,) = summarise([cell], [{cell: outcome}])
    assert row.values == (Value(value=30.0),)


def test_a_score_that_only_one_model_has() -> None:
    rng = np.random.default_rng(0)
    speakers = rng.integers(0, 6, size=(2, 900))
    is_target = speakers[0] == speakers[1]
    scores = is_target + rng.standard_normal(900)
    trials = {"is_target": is_target, "first": speakers[0], "second": speakers[1], "cosine": scores}
    cell = Cell("eer", "commonvoice", "clean")
    rows = summarise([cell], [{cell: trials}, {cell: {**trials, "back end": 2 * scores}}])
    cosine, back_end = (row.values for row in rows)
    assert cosine[0] is not None and cosine[1] is not None
    assert cosine[1].difference == 0.0 and cosine[1].difference_low == cosine[1].difference_high == 0.0
    assert back_end[0] is None and back_end[1] is not None
    assert back_end[1].difference is None and back_end[1].value == cosine[0].value


def test_rows_as_text() -> None:
    row = Row(
        part="eer",
        corpus="c",
        condition="clean",
        figure="EER %",
        values=(
            Value(value=6.42, low=4.91, high=7.86),
            Value(value=5, difference=-1.42, difference_low=-2, difference_high=0.5),
            None,
        ),
    )
    assert table_header(["a", "b", "c"]) == [
        "figure",
        "corpus",
        "condition",
        "a",
        "b",
        "less a",
        "c",
        "less a",
    ]
    assert table_row(row) == [
        *("EER %", "c", "clean", "6.42 (4.91 to 7.86)", "5.00", "-1.42 (-2.00 to +0.50)", "-", "-"),
    ]
