"""sdpn.io.uem: scored regions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io.uem import read_uem, write_uem


def test_regions_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "all.uem"
    path.write_text(";; regions\nrec 1 10.0 20.5\n\nother NA 0 1\nrec\t1\t0.5\t3\n")
    assert read_uem(path) == {"rec": [(0.5, 3.0), (10.0, 20.5)], "other": [(0.0, 1.0)]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rec 1 0", "expected 4 fields, found 3"),
        ("rec 1 0 1 2", "expected 4 fields, found 5"),
        ("rec 1 a 1", "start 'a' is not a time"),
        ("rec 1 0 nan", "end 'nan' is not a time"),
        ("rec 1 -1 1", "start '-1' is not a time"),
        ("rec 1 2 2", "runs from 2.0 to 2.0 s"),
        ("rec 1 3 2", "runs from 3.0 to 2.0 s"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.uem"
    path.write_text(f"rec 1 0 1\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        read_uem(path)
    assert (caught.value.path, caught.value.line) == (str(path), 2)


def test_a_file_without_regions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.uem").touch()
    with pytest.raises(InputError, match="contains no regions"):
        read_uem(tmp_path / "empty.uem")


def test_the_real_one(shared_data: Path) -> None:
    regions = read_uem(shared_data / "ami_excerpt" / "reference.uem")
    assert len(regions) == 12
    assert set(map(tuple, regions.values())) == {((0.0, 30.0),)}


SPANS = st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)).map(
    lambda s: (s[0] / 100, (s[0] + s[1]) / 100)
)
IDS = st.from_regex(r"[a-zA-Z0-9_.é-]{1,6}", fullmatch=True)


@given(regions=st.dictionaries(IDS, st.lists(SPANS, min_size=1, max_size=5), min_size=1, max_size=5))
def test_what_is_written_reads_back(tmp_path: Path, regions: dict[str, list[tuple[float, float]]]) -> None:
    path = tmp_path / "written.uem"
    path.write_text("".join(f"{name} 1 {s!r} {e!r}\n" for name, spans in regions.items() for s, e in spans))
    assert read_uem(path) == {name: sorted(spans) for name, spans in regions.items()}


@given(content=st.binary(max_size=100))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.uem"
    path.write_bytes(content)
    try:
        read_uem(path)
    except InputError as error:
        assert error.path == str(path)


def test_regions_are_written_in_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "all.uem"
    write_uem(path, {"rec": [(0.0, 1.5), (2.0, 3.25)], "other": [(0.0, 180.0)]})
    assert path.read_text() == "rec 1 0.000 1.500\nrec 1 2.000 3.250\nother 1 0.000 180.000\n"
    assert read_uem(path) == {"rec": [(0.0, 1.5), (2.0, 3.25)], "other": [(0.0, 180.0)]}
    with pytest.raises(InputError, match="recording 'a b' cannot be written"):
        write_uem(path, {"a b": [(0.0, 1.0)]})
