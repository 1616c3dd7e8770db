"""Which utterances a process takes."""

from __future__ import annotations

import pytest

from sdpn.errors import InputError
from sdpn.extraction.shard import Shard, find_shard, parse_shard


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_shards_are_disjoint_and_together_everything(count: int) -> None:
    items = list(range(30))
    taken = [Shard(index, count).of(items) for index in range(count)]
    assert sorted(item for own in taken for item in own) == items
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_a_shard_is_named_or_torchruns_or_everything() -> None:
    assert find_shard("3/4", {}) == Shard(3, 4)
    assert find_shard(None, {"RANK": "1", "WORLD_SIZE": "2"}) == Shard(1, 2)
    assert find_shard(None, {}) == find_shard("0/1", {"WORLD_SIZE": "1"}) == Shard(0, 1)
    with pytest.raises(InputError, match="cannot be combined with torchrun"):
        find_shard("0/2", {"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "/", "a/b", "1/4/2", "", "0/0"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(InputError, match="i from 0 to n-1"):
        parse_shard(text)
