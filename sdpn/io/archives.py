"""Archives and compressed files by their first bytes: what somebody may take for a recording and is none."""

from __future__ import annotations

#: Kind by first bytes.
_BEGINNINGS = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "an empty ZIP archive",
    b"PK\x07\x08": "a ZIP archive in parts",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"\x1f\x9d": "compressed by compress",
    b"!<arch>\n": "an ar archive",
}

#: Where tar has its mark, behind the name of the first file.
_TAR_AT, _TAR = 257, b"ustar"


def archive_kind(head: bytes) -> str | None:
    """Name the kind of an archive; None for anything else.

    Args:
        head: its first bytes; 262 are enough to recognise all kinds.
    """
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    return "a tar archive" if head[_TAR_AT:].startswith(_TAR) else None
