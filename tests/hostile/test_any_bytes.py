"""Any bytes give a result or an `InputError`: no other exception, no hang, no memory without bound."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdpn.errors import InputError
from tests.hostile.readers import READERS, Reader

#: What a single file may take, on a machine that others use too, and what it may ask for besides.
_SECONDS, _MEMORY = 10, 1 << 30


class Hang(BaseException):
    """A reader that does not come back; no ``except Exception`` stops it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Bound the time and the address space that the block may take besides what is there."""

    def alarm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Hang(f"longer than {_SECONDS} s")

    used = next(
        int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmSize")
    )  # fmt: skip
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


#: What breaks parsers: numbers that are none, brackets, quotes, white space, bytes that mean much to YAML.
_WORDS = [
    *(
        b"null",
        b"[]",
        b"{}",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 400,
        b"-1",
        b"0",
        b"0x1F",
        b"1e5",
        b"true",
    ),
    *(
        b"2001-13-45",
        b"!!int z",
        b"!!python/object/apply:os.system [id]",
        b"&x {<<: *x}",
        b"*x",
        b"&x",
        b"<<",
    ),
    *(b"[", b"]", b"{", b"}", b"(", b")", b"'", b'"', b"\\", b":", b",", b"-", b"#", b"%", b"|", b"?", b"@"),
    *(b"\t", b"\n", b"\r", b" ", b"\0", b"\x1b[2J", b"\x85", b"\xe2\x80\xa8", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"../", b"/", b"<script>", b'"\\ud800"', b"\x7f\xff\xff\xff", b"\xff" * 8, b"[" * 200, b"{'a':" * 200),
    *(b'"a": 1, "a": 2', b"nan", b"inf", b"1e309", b"\xf0\x9f\x98\x80"),
]


@st.composite
def damage(draw: st.DrawFn, whole: bytes, *, text: bool) -> bytes:
    """A whole file with a few cuts, changes and insertions, or something else altogether."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        return b" ".join(draw(st.lists(st.sampled_from(_WORDS), max_size=8)))
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        # the beginning, where headers are, as often as all the rest
        most = draw(st.sampled_from([min(300, len(data)), len(data)]))
        at = draw(st.integers(0, most))
        how = draw(st.integers(0, 5))
        if how == 0:
            del data[at:]
        elif how == 1:
            del data[at : at + draw(st.integers(1, 30))]
        elif how == 2 and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif how == 3:
            data[at:at] = draw(st.sampled_from(_WORDS))
        elif how == 4:
            data[at : at + draw(st.integers(1, 12))] = draw(st.sampled_from(_WORDS))
        elif text:
            words = bytes(data).split(b" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(_WORDS))
            data = bytearray(b" ".join(words))
        else:
            end = min(len(data), at + draw(st.integers(1, 8)))
            data[at:end] = draw(st.binary(min_size=end - at, max_size=end - at))
    return bytes(data)


def check(reader: Reader, folder: Path, content: bytes) -> None:
    """Read a file of ``content``; anything but a result or an `InputError` of one line fails."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = reader.make(folder)
    path.write_bytes(content)
    with bounded():
        try:
            reader.read(path)
        except InputError as error:
            assert error.message


#: Write graphs of two kinds, which takes seconds; the reader "graph" writes one.
SLOW = {"graph-folder"}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in READERS]


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.read(reader.make(tmp_path))


def _try(name: str, folder: Path, examples: int) -> None:
    reader = READERS[name]
    folder.mkdir(exist_ok=True)
    whole = reader.make(folder).read_bytes()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=damage(whole, text=reader.text))
    @example(content=b"")
    def run(content: bytes) -> None:
        check(reader, folder / "tried", content)

    run()


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_give_a_result_or_an_input_error(name: str, tmp_path: Path) -> None:
    _try(name, tmp_path / "x", 5 if READERS[name].slow else 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_lot_of_files_give_a_result_or_an_input_error(name: str, tmp_path: Path) -> None:
    _try(name, tmp_path / "x", 60 if READERS[name].slow else 500)
