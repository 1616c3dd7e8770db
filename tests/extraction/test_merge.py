"""The merge: nothing missing, nothing double, nothing damaged, nothing stale."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.extraction import settings as settings_module
from sdpn.extraction.merge import Output, merge, scan
from sdpn.extraction.part import Part
from sdpn.extraction.settings import ExtractionSettings
from sdpn.io.kaldi import Utterance, read_vectors

UTTERANCES = [Utterance(name, Path(f"/corpus/{name}.wav")) for name in "abcd"]


def _vector(utterance: Utterance) -> np.ndarray:
    return np.random.default_rng(list(utterance.id.encode())).standard_normal((1, 5)).astype(np.float32)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    output = Output(folder=tmp_path / "out")
    output.progress.mkdir(parents=True)
    settings = ExtractionSettings(model="m", embedding_dim=5, windows=None, precision="fp32")
    (output.progress / settings_module._NAME).write_text(json.dumps(asdict(settings)))
    return output


def _part(output: Output, name: str, *utterances: Utterance, failed: tuple[Utterance, ...] = ()) -> None:
    with Part(output.part(name)) as part:
        for utterance in utterances:
            part.add(utterance, _vector(utterance), 1.0, windows=False)
        for utterance in failed:
            part.fail(utterance, "is truncated")


def test_parts_become_one_table_in_the_order_of_the_data(output: Output) -> None:
    a, b, c, d = UTTERANCES
    _part(output, "0-of-2", c, a)
    _part(output, "1-of-2", d, failed=(b,))
    status = merge(output, UTTERANCES, {}, npz=True)
    assert dict(status.failed) == {"b": "is truncated"}
    for vectors in (read_vectors(output.scp), read_vectors(output.ark)):
        assert list(vectors) == ["a", "c", "d"]
        for utterance in (a, c, d):
            np.testing.assert_array_equal(vectors[utterance.id], _vector(utterance)[0])
    with np.load(output.npz) as arrays:  # without allow_pickle
        assert arrays["ids"].tolist() == ["a", "c", "d"]
        np.testing.assert_array_equal(arrays["embeddings"], np.concatenate([_vector(u) for u in (a, c, d)]))
    assert output.failed.read_text() == "b is truncated\n"
    assert not output.parts()
    after = scan(output, UTTERANCES)
    assert after.is_merged and not after.missing and after.failed == status.failed


def test_what_is_missing_is_named_and_nothing_is_written(output: Output) -> None:
    _part(output, "0-of-2", *UTTERANCES[:3])
    with pytest.raises(InputError, match="1 of 4 utterances are missing, the first is 'd'"):
        merge(output, UTTERANCES, {}, npz=False)
    assert not output.scp.exists() and not output.ark.exists()
    _part(output, "1-of-2", UTTERANCES[3])
    merge(output, UTTERANCES, {}, npz=False)
    assert list(read_vectors(output.scp)) == list("abcd")


def test_what_two_processes_embedded_is_refused(output: Output) -> None:
    _part(output, "0-of-2", *UTTERANCES[:3])
    _part(output, "0-of-3", *UTTERANCES[2:])
    with pytest.raises(InputError, match=r"'c' is in both 0-of-2\.ark and 0-of-3\.ark"):
        merge(output, UTTERANCES, {}, npz=False)


def test_a_damaged_vector_is_noticed(output: Output) -> None:
    _part(output, "0-of-1", *UTTERANCES)
    path = output.part("0-of-1")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="utterance 'd' is damaged"):
        merge(output, UTTERANCES, {}, npz=False)
    assert not output.scp.exists() and not output.ark.exists()


def test_data_that_grew_shrank_and_changed(output: Output) -> None:
    a, b, c, _ = UTTERANCES
    _part(output, "0-of-1", a, b, c)
    merge(output, [a, b, c], {}, npz=False)
    moved = Utterance("b", Path("/elsewhere/b.wav"))
    now = [moved, UTTERANCES[3], a]  # c is gone, d is new, b is another file
    assert scan(output, now).missing == ["b", "d"]
    _part(output, "0-of-1", moved, UTTERANCES[3])
    merge(output, now, {}, npz=False)
    assert list(read_vectors(output.scp)) == ["b", "d", "a"]


def test_a_merge_that_was_killed_is_done_again(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every write; the table is whole or not there."""
    from sdpn.extraction import merge as module

    real = module.atomic_write_text
    for kill_at in range(3):
        _part(output, "0-of-1", *UTTERANCES, failed=())
        calls = 0

        def write(path: Path, text: str, kill_at: int = kill_at) -> None:
            nonlocal calls
            if calls == kill_at:
                raise KeyboardInterrupt
            calls += 1
            real(path, text)

        monkeypatch.setattr(module, "atomic_write_text", write)
        if kill_at < 2:  # the index and the scp are written in full
            with pytest.raises(KeyboardInterrupt):
                merge(output, UTTERANCES, {}, npz=False)
            assert not output.scp.exists()
        monkeypatch.setattr(module, "atomic_write_text", real)
        merge(output, UTTERANCES, {}, npz=False)
        assert list(read_vectors(output.scp)) == list("abcd")
        for path in (output.scp, output.ark, output.merged_index):
            path.unlink()


def test_a_part_that_is_being_written_is_left_alone(output: Output) -> None:
    _part(output, "0-of-2", *UTTERANCES[:3])
    with Part(output.part("1-of-2")) as part:
        part.add(UTTERANCES[3], _vector(UTTERANCES[3]), 1.0, windows=False)
        merge(output, UTTERANCES, {}, npz=False)
        assert output.parts() == [output.part("1-of-2")]
    merge(output, UTTERANCES, {}, npz=False)
    assert not output.parts() and list(read_vectors(output.scp)) == list("abcd")


def test_nothing_at_all(output: Output, tmp_path: Path) -> None:
    _part(output, "0-of-1", failed=tuple(UTTERANCES))
    with pytest.raises(InputError, match=r"none of the 4 utterances .* is truncated"):
        merge(output, UTTERANCES, {}, npz=False)
    with pytest.raises(InputError, match="nothing has been extracted"):
        merge(Output(folder=tmp_path / "none"), UTTERANCES, {}, npz=False)
