"""sdpn.io.shards: a pack that is not whole is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdpn.data.pack import pack
from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.io.shards import check_shards
from tests.conftest import write_noise


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    pack([write_noise(tmp_path / "data", 3)], tmp_path / "pack")
    return tmp_path / "pack"


def test_whole(packed: Path) -> None:
    check_shards(packed)
    assert len(read_data_dir(packed)) == 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda shard: shard.unlink(), "is missing"),
        (lambda shard: shard.write_bytes(shard.read_bytes()[:-100]), "is truncated: "),
        (lambda shard: shard.write_bytes(shard.read_bytes() + b"\0"), "not the shard that was packed"),
        (lambda shard: (shard.unlink(), shard.mkdir()), "is missing"),
    ],
)
def test_a_shard_that_is_not_whole_is_named_before_the_work(packed: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(packed / "shard-000000.tar")
    with pytest.raises(InputError, match=message) as caught:
        read_data_dir(packed)
    assert str(caught.value).startswith(f"{packed / 'shard-000000.tar'}: ") and caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"shards": {"../shard-000000.tar": 1}},
        {"shards": {"": 1}},
        {"shards": ["shard-000000.tar"]},
        {"shards": {"shard-000000.tar": "1"}},
        {"signature": None},
        {"more": 1},
    ],
)
def test_manifests_that_are_none(packed: Path, change: dict[str, object]) -> None:
    path = packed / "pack.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="is not a valid manifest of packed speech") as caught:
        read_data_dir(packed)
    assert str(caught.value).startswith(f"{path}: ")
