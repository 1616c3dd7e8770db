"""Names in formats that cannot hold every name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.formats.names import as_field, as_file_name, fitting_names, one_line, without_markup
from sdpn.io.text import is_id, is_line

FITS = {"field": as_field, "line": one_line, "no markup": without_markup}


@pytest.mark.parametrize(
    ("name", "field", "line", "plain"),
    [
        ("speaker00", "speaker00", "speaker00", "speaker00"),
        ("Anna Lee", "Anna_Lee", "Anna Lee", "Anna Lee"),
        ("a/b\\c", "a/b\\c", "a/b\\c", "a/b\\c"),
        ("<i>Bo</i> {x}", "<i>Bo</i>_{x}", "<i>Bo</i> {x}", "_i_Bo_/i_ _x_"),
        ("tab\tand\r\nline", "tab_and_line", "tab_and_line", "tab_and_line"),
        ("名前 🙂", "名前_🙂", "名前 🙂", "名前 🙂"),
        ("  ", "_", "_", "_"),
        ("a\u2028b", "a_b", "a_b", "a_b"),
        ("x" * 300, "x" * 300, "x" * 300, "x" * 300),
    ],
)
def test_the_rule(name: str, field: str, line: str, plain: str) -> None:
    assert (as_field(name), one_line(name), without_markup(name)) == (field, line, plain)


def test_names_that_become_the_same_stay_apart() -> None:
    names = ["Anna Lee", "Anna_Lee", "Anna\tLee", "Anna_Lee_2"]
    found = fitting_names(names, as_field, what="RTTM")
    assert found["Anna_Lee"] == "Anna_Lee" and found["Anna_Lee_2"] == "Anna_Lee_2"  # they fit as they are
    assert len(set(found.values())) == 4


def test_names_that_some_file_systems_take_for_one() -> None:
    found = fitting_names(["anna", "Anna", "A/b", "a_B"], as_file_name, what="test", same=str.casefold)
    assert found == {"anna": "anna", "Anna": "Anna_2", "A/b": "A_b_2", "a_B": "a_B"}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@given(names=st.lists(st.text(), unique=True, max_size=8))
def test_any_names(fit: Callable[[str], str], names: list[str]) -> None:
    found = fitting_names(names, fit, what="test")
    assert list(found) == names and len(set(found.values())) == len(names)
    for name, new in found.items():
        assert is_line(new) and new and (fit is not as_field or is_id(new))
        assert fit(new) == new
        assert fit(name) != name or new == name
