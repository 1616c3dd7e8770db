"""The checksum of a file, against what sha256sum prints."""

from __future__ import annotations

from pathlib import Path

from sdpn.io.checksum import file_sha256


def test_the_sum_is_that_of_sha256sum(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"")
    assert file_sha256(file) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    file.write_bytes(
        b"a" * 2_500_000
    )  # more than two pieces; head -c 2500000 /dev/zero | tr '\0' a | sha256sum
    assert file_sha256(file) == "38a637965059125eeb67f54c30e7f48a61859a467a800ba09740ba48a924f2b9"
