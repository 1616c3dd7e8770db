"""Packed speech: a Kaldi data directory whose audio is in a few tar files, as ``sdpn pack`` writes it.

``wav.scp`` says where each recording begins, ``KEY shard-000000.tar:1536``, and `sdpn.io.stored` reads it
there. ``pack.json`` says which shards there are and how long, so that one which is missing or was copied in
part is found before the work and not in the middle of it. The shards are laid out as webdataset wants them
(https://github.com/webdataset/webdataset): ``KEY.json`` and ``KEY.opus`` one after the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from sdpn.errors import InputError
from sdpn.io.json_text import read_json
from sdpn.io.parsing import parsing

#: The file that makes a data directory a pack.
MANIFEST = "pack.json"

_HINT = "copy the whole folder again, or pack the speech again"


class PackManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pack consists of.

    Attributes:
        format: of the pack.
        signature: digest of what was packed, and how.
        num_utterances: rows of its tables.
        num_skipped: utterances that could not be read and were left out.
        shards: bytes of each shard, by its name.
    """

    format: Literal[1] = 1
    signature: str
    num_utterances: int
    num_skipped: int
    shards: dict[str, int]


def read_pack_manifest(directory: Path) -> PackManifest:
    """Read the ``pack.json`` of a pack.

    Raises:
        InputError: it is missing or damaged, or of another version's format.
    """
    path = directory / MANIFEST
    document = read_json(path, "manifest of packed speech", hint=_HINT)
    with parsing(path, "is not a valid manifest of packed speech", hint=_HINT):
        manifest = msgspec.convert(document, PackManifest)
        for name in manifest.shards:
            if not name or Path(name).name != name:
                raise ValueError(f"{name!r} is no name of a shard")
    return manifest


def check_shards(directory: Path) -> None:
    """Check that every shard of a pack is there and as long as it was written, and that there are no others.

    Raises:
        InputError: one is not; or as `read_pack_manifest`.
    """
    shards = read_pack_manifest(directory).shards
    others = sorted(path for path in directory.glob("[!.]*.tar") if path.name not in shards)
    if others:
        raise InputError(
            f"is not one of the {len(shards)} shards of this pack",
            path=others[0],
            hint="remove it if it is a copy; two packs need two folders",
        )
    for name, size in shards.items():
        shard = directory / name
        if not shard.is_file():
            raise InputError("this shard of the packed speech is missing", path=shard, hint=_HINT)
        if (held := shard.stat().st_size) != size:
            raise InputError(
                f"is {'truncated' if held < size else 'not the shard that was packed'}: "
                f"{held} of {size} bytes",
                path=shard,
                hint=_HINT,
            )
