"""The token, addresses, and names that clients give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io.archives import archive_kind
from sdpn.service.access import ServiceToken, bearer, listening_socket, read_token, url_of
from sdpn.service.limits import Limits
from sdpn.service.names import recording_id, shown_name

GOOD = "0123456789abcdef"


def test_the_file_comes_before_the_variable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{GOOD}\n")
    assert read_token(tmp_path / "token", {"SDPN_TOKEN": "x" * 20}) == GOOD
    assert read_token(None, {"SDPN_TOKEN": "x" * 20}) == "x" * 20
    assert read_token(None, {}) is None


@pytest.mark.parametrize(
    "token", ["", "short", "a" * 15, "with white space inside", "ü" * 20, "a" * 20 + "\x07"]
)
def test_what_is_no_token(token: str) -> None:
    """An empty variable is no open door either."""
    with pytest.raises(InputError, match="SDPN_TOKEN"):
        read_token(None, {"SDPN_TOKEN": token})


def test_tokens() -> None:
    token = ServiceToken(GOOD)
    assert token.is_needed and token.admits(GOOD)
    for wrong in (None, "", GOOD[:-1], GOOD + "0", GOOD.upper(), "ü", "\udce4"):
        assert not token.admits(wrong)
    assert ServiceToken(None).admits(None) and not ServiceToken(None).is_needed


def test_headers() -> None:
    assert bearer("Bearer x") == bearer("bearer  x ") == "x"
    assert bearer(None) is None and bearer("Basic x") is None and bearer("") is None


def test_loopback_needs_no_token() -> None:
    with listening_socket("127.0.0.1", 0, has_token=False) as listening:
        port = listening.getsockname()[1]
        assert url_of(listening) == f"http://127.0.0.1:{port}"
        with pytest.raises(InputError, match=f"cannot listen on localhost, port {port}"):
            listening_socket("localhost", port, has_token=False)
    with pytest.raises(InputError, match="lets other machines in"):
        listening_socket("0.0.0.0", 0, has_token=False)
    listening_socket("0.0.0.0", 0, has_token=True).close()


@given(st.text() | st.text("./\\<>\"'&\r\n\0\u202e~:$ a"))
def test_names_are_harmless(given_name: str) -> None:
    shown = shown_name(given_name)
    assert shown and len(shown) <= 120 and shown not in (".", "..")
    assert not re.search(r"[/\\<>\r\n\0]", shown)
    assert Path("folder", shown).resolve().parent == Path("folder").resolve()
    assert re.fullmatch(r"\S+", recording_id(shown))


@given(st.binary(max_size=600))
def test_recordings_are_no_archives(rest: bytes) -> None:
    for head in (b"RIFF", b"fLaC", b"OggS", b"ID3"):
        archive_kind(head + rest)  # never raises
        if rest[253:258] != b"ustar" and (head + rest)[257:262] != b"ustar":
            assert archive_kind(head + rest) is None


@pytest.mark.parametrize(
    "wrong", [{"upload_bytes": 0}, {"recording_s": float("inf")}, {"keep_s": float("nan")}, {"streams": -1}]
)
def test_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]
