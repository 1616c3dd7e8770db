"""sdpn.errors: one line with what, where, and what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

from sdpn.errors import InputError


def test_the_line_has_place_message_and_hint() -> None:
    assert str(InputError("is empty")) == "is empty"
    assert str(InputError("is empty", path=Path("a") / "b c")) == "a/b c: is empty"
    assert str(InputError("has 3 fields", path="x", line=7)) == "x:7: has 3 fields"
    assert str(InputError("has 3 fields", path="x", line=7, hint="use 4")) == "x:7: has 3 fields (use 4)"


def test_the_parts_stay_readable_for_programs() -> None:
    error = InputError("is empty", path=Path("x"), line=7, hint="fill it")
    assert (error.message, error.path, error.line, error.hint) == ("is empty", "x", 7, "fill it")


def test_the_error_comes_whole_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(InputError("is empty", path="x", line=7, hint="fill it")))
    assert str(error) == "x:7: is empty (fill it)"
    assert (error.message, error.path, error.line, error.hint) == ("is empty", "x", 7, "fill it")
