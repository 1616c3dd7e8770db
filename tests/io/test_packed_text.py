"""Packed texts are the list they were made of; repeated keys are found wherever they are."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.io.packed_text import DistinctKeys, PackedText

#: What a path may hold: anything, also bytes that are no UTF-8, which Python keeps as lone surrogates.
TEXTS = st.lists(st.text(max_size=12) | st.just("a\udcff/ü"))


def valid(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte; no file system gives one
        return False
    return True


@given(TEXTS)
def test_packed_texts_are_a_list(texts: list[str]) -> None:
    texts = [text for text in texts if valid(text)]
    packed = PackedText(texts)
    assert list(packed) == texts
    assert list(pickle.loads(pickle.dumps(packed))) == texts
    for index in range(-len(texts), len(texts)):
        assert packed[index] == texts[index]
    assert packed[1:7:2] == texts[1:7:2]
    with pytest.raises(IndexError):
        packed[len(texts)]


@given(TEXTS, TEXTS)
def test_one_by_one_and_together(texts: list[str], more: list[str]) -> None:
    texts, more = ([text for text in some if valid(text)] for some in (texts, more))
    packed, other = PackedText(texts), PackedText()
    packed.extend(more)
    for text in texts + more:
        other.append(text)
    assert list(packed) == list(other) == texts + more


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnop")), max_size=12))
def test_the_first_repeated_key_of_each_call(calls: list[list[str]]) -> None:
    keys = DistinctKeys()
    seen: set[str] = set()
    for call in calls:
        expected = None
        for place, key in enumerate(call):
            if key in seen and expected is None:
                expected = place
            seen.add(key)
        assert keys.add(call) == expected


def test_many_keys_one_of_them_twice() -> None:
    keys = DistinctKeys()
    for first in range(0, 100_000, 1000):
        assert keys.add([f"id{number}" for number in range(first, first + 1000)]) is None
    assert keys.add(["new", "id54321", "id7"]) == 1
    assert keys.add([]) is None
