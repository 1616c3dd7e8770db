"""sdpn.io.text: lines with the numbers an editor shows, times, and ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.io.text import is_encodable, numbered_lines, parse_seconds, read_text, require_id


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes("one\r\n\r\n  two \u2028 still two \x0c\n\nthree".encode())
    assert list(numbered_lines(path)) == [(1, "one"), (3, "two \u2028 still two"), (5, "three")]


def test_a_byte_order_mark_is_no_part_of_the_first_field(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"\xef\xbb\xbfid value\n")
    assert list(numbered_lines(path)) == [(1, "id value")]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: no such file"):
        read_text(tmp_path / "absent")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        read_text(tmp_path)
    (tmp_path / "latin1").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match="latin1: is not UTF-8 text"):
        read_text(tmp_path / "latin1")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-0.001", "1,5", "", "x", "1e999"])
def test_what_is_no_time_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InputError, match=r"^f:7: onset .* is not a time in seconds"):
        parse_seconds(text, "onset", path="f", line=7)


def test_times_are_exact() -> None:
    assert parse_seconds("0.1", "onset", path="f", line=1) == 0.1
    assert parse_seconds("0", "onset", path="f", line=1) == 0.0
    assert parse_seconds("1e3", "onset", path="f", line=1) == 1000.0


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "a\n", "a\u00a0b", "\ufeffa", "a\udc80"])
def test_ids_that_a_table_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^f: speaker .* cannot be written"):
        require_id(name, "speaker", path="f")


def test_ids_of_any_script_pass() -> None:
    for name in ("a-b_c.d", "MÉO069", "会议", "نام\u200cها"):
        require_id(name, "speaker", path="f")


def test_a_file_name_that_is_not_utf8_is_not_encodable() -> None:
    assert not is_encodable(b"\xff.wav".decode("utf-8", "surrogateescape"))
    assert is_encodable("é")
