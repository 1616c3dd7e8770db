"""Rows in blocks are those of a loop over the lines, with its errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io import kaldi, table_rows
from sdpn.io.kaldi import read_data_dir, read_table
from sdpn.io.table_rows import ROWS_AT_ONCE

LINES = st.lists(
    st.sampled_from(["a 1", "b  2 3 ", "\tc\u00a0x", "d", "", "  ", "e\u2028f", "g\x0ch i\r", "ü ö", "a 4"])
    | st.builds("k{} v".format, st.integers(0, 30))
)


def _by_line(text: str) -> tuple[dict[str, str], str]:
    """Rows before the first bad line, and what is wrong with it."""
    table: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        key, *rest = line.strip().split(None, 1)
        if not rest:
            return table, f"{number}: expected 'id value', found {line.strip()!r}"
        if key in table:
            return table, f"{number}: id {key!r} occurs a second time (first on line {line_of[key]})"
        table[key], line_of[key] = rest[0], number
    return table, ""


@given(LINES, st.integers(1, 5))
def test_blocks_are_lines(tmp_path: Path, lines: list[str], at_once: int) -> None:
    path = tmp_path / "table"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    expected, problem = _by_line("\n".join(lines))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(table_rows, "ROWS_AT_ONCE", at_once)
        found: dict[str, str] = {}
        if problem:
            with pytest.raises(InputError) as caught:
                for block in table_rows.distinct_row_blocks(path):
                    found.update(zip(block.keys, block.values, strict=True))
            assert str(caught.value).startswith(f"{path}:{problem}")
        else:
            assert read_table(path) == expected
            found = expected
    assert found == expected


def test_a_second_time_in_another_block(tmp_path: Path) -> None:
    path = tmp_path / "table"
    rows = [f"k{number} v" for number in range(2 * ROWS_AT_ONCE)]
    path.write_text("\n".join([*rows, "k7 v"]))
    with pytest.raises(InputError, match=r"'k7' occurs a second time \(first on line 8\)") as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}:{len(rows) + 1}: ")


@given(st.lists(st.text("/.ab ", min_size=1).filter(lambda name: name.strip() == name != ""), min_size=1))
def test_paths_are_as_pathlib_writes_them(names: list[str]) -> None:
    for folder in (Path("/data/x"), Path("rel"), Path("."), Path("/")):
        assert list(kaldi._below(folder, names)) == [str(folder / name) for name in names]


def test_an_archive_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").touch()
    (tmp_path / "b.ark").touch()
    rows = [f"u{number} {'a.tar' if number % 2 else 'b.ark'}:{512 * number}\n" for number in range(500)]
    (tmp_path / "wav.scp").write_text("".join(rows))
    isfile, asked = os.path.isfile, []
    monkeypatch.setattr(os.path, "isfile", lambda path: asked.append(path) or isfile(path))
    assert len(read_data_dir(tmp_path)) == 500
    assert len(asked) < 20
    (tmp_path / "wav.scp").write_text("".join([*rows, "v a.tar:x\n"]))
    with pytest.raises(InputError, match="recording 'v': no such audio file") as caught:
        read_data_dir(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'wav.scp'}:501: ")
