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
from tests.io.encoding import encode, speechlike


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


@pytest.mark.parametrize("size", [20000, 400000])  # read at once, and in pieces
def test_damage_inside_a_shard_is_never_heard(tmp_path: Path, size: int) -> None:
    """A byte of Opus changed: its decoder would leave a page out, without a word."""
    data = tmp_path / "data"
    data.mkdir()
    encode(data / "a.opus", "libopus", speechlike(48000, size / 4000), 48000, bit_rate=96000)
    (data / "wav.scp").write_text("a a.opus\n")
    pack([data], tmp_path / "pack")
    (utterance,) = read_data_dir(tmp_path / "pack")
    assert utterance.num_samples() == size * 4
    shard = tmp_path / "pack/shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[int(str(utterance.path).rpartition(":")[2]) + size // 2] ^= 1
    shard.write_bytes(content)
    for read in (utterance.read, utterance.num_samples, lambda: utterance.read_range(0, 100)):
        with pytest.raises(InputError, match=r"is damaged: the content of a\.opus is not what was packed"):
            read()


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
