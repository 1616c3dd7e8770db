"""Values to try, as they are written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.tuning.values import Range, parse_values


def test_values_are_read_as_in_a_configuration() -> None:
    assert parse_values("optimizer.lr=0.01,1e-3,true,name") == ("optimizer.lr", [0.01, 1e-3, True, "name"])
    assert parse_values("encoder.dilations=[2, 3],[2, 3, 4]") == ("encoder.dilations", [[2, 3], [2, 3, 4]])
    assert parse_values("a=1,1.0") == ("a", [1, 1.0])  # two types, two values


def test_ranges() -> None:
    assert parse_values("a=1..8") == ("a", Range(1, 8, False, True))
    assert parse_values("a=0.001..0.1,log") == ("a", Range(0.001, 0.1, True, False))
    rng = np.random.default_rng(0)
    drawn = [Range(0.001, 0.1, True, False).draw(rng) for _ in range(2000)]
    assert min(drawn) >= 0.001 and max(drawn) <= 0.1
    assert np.mean(np.array(drawn) < 0.01) == pytest.approx(0.5, abs=0.05)  # half the orders of magnitude
    whole = {Range(1, 3, False, True).draw(rng) for _ in range(100)}
    assert whole == {1, 2, 3} and all(isinstance(one, int) for one in whole)
    assert {Range(1, 3, True, True).draw(rng) for _ in range(200)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a", "cannot parse"),
        ("=1", "cannot parse"),
        ("a=", "cannot parse"),
        ("a=1..b", "cannot parse"),
        ("a=1..2,lin", "cannot parse"),
        ("a=2..1", "empty range"),
        ("a=0..1,log", "no logarithm"),
        ("a=1..inf", "cannot parse"),
        ("a=1,1", "twice"),
    ],
)
def test_what_means_nothing_is_refused(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_values(word)


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        key, _ = parse_values(text)
    except InputError:
        return
    assert key and text.startswith(key)
