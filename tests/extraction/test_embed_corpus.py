"""The one way to embed many utterances: in order, each as if alone, bad files by one rule."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.extraction.audio_cache import AudioCache
from sdpn.extraction.clips import WindowPlan
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder
from tests.extraction.conftest import noise


def _rows(embedder: Embedder, waves: list[np.ndarray]) -> np.ndarray:
    return np.stack([embedder.embed(wave, 16000) for wave in waves])


def test_utterances_come_in_order_each_as_if_alone(embedder: Embedder, utterances: list[Utterance]) -> None:
    """Their lengths are mixed, so that batches finish in another order."""
    reported: list[tuple[int, int]] = []
    found = list(embed_corpus(embedder, utterances, on_progress=lambda *done: reported.append(done)))
    assert [each.index for each in found] == list(range(40))
    assert [each.utterance for each in found] == utterances
    alone = _rows(embedder, [utterance.read() for utterance in utterances])
    np.testing.assert_allclose(np.concatenate([each.embeddings_ND for each in found]), alone, atol=1e-5)
    assert reported[-1] == (40, 40) and reported == sorted(reported)


def test_the_network_computes_afterwards_what_it_did_before(
    embedder: Embedder, utterances: list[Utterance]
) -> None:
    """Bit for bit: a network may be in the middle of its training."""
    wave = utterances[0].read()
    before = embedder.embed(wave, 16000)
    list(embed_corpus(embedder, utterances[:4]))
    np.testing.assert_array_equal(embedder.embed(wave, 16000), before)
    next(embed_corpus(embedder, utterances))  # and where somebody stops in the middle
    np.testing.assert_array_equal(embedder.embed(wave, 16000), before)


def test_bad_files_by_three_rules(
    embedder: Embedder, utterances: list[Utterance], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    bad = [Utterance("gone", tmp_path / "gone.wav"), Utterance("text", tmp_path / "text.wav")]
    mixed = [bad[0], *utterances[:3], bad[1], *utterances[3:6]]
    with pytest.raises(InputError, match=r"gone\.wav: no such audio file"):
        list(embed_corpus(embedder, mixed))

    with caplog.at_level(logging.WARNING):
        skipped = list(embed_corpus(embedder, mixed, on_error="skip"))
    assert [each.index for each in skipped] == [1, 2, 3, 5, 6, 7]
    assert [record.getMessage() for record in caplog.records] == [
        f"2 utterances left out, such as 'gone': {tmp_path / 'gone.wav'}: no such audio file"
    ]
    reported: list[tuple[str, str]] = []
    again = embed_corpus(embedder, mixed, on_error=lambda who, why: reported.append((who.id, str(why))))
    for one, two in zip(skipped, again, strict=True):
        np.testing.assert_array_equal(one.embeddings_ND, two.embeddings_ND)
    assert [name for name, _ in reported] == ["gone", "text"] and "text.wav" in reported[1][1]
    assert list(embed_corpus(embedder, bad, on_error="skip")) == []


def test_pieces_are_embedded_in_the_place_of_an_utterance(
    embedder: Embedder, utterances: list[Utterance]
) -> None:
    """Drawn in the order of the utterances, so that a seed gives the same pieces; none is an answer."""
    rng = np.random.default_rng(3)
    seen: list[int] = []

    def crops(wave: np.ndarray, index: int) -> list[np.ndarray]:
        seen.append(index)
        starts = rng.integers(0, len(wave) // 2, size=index % 3)
        return [wave[start : start + 4000] for start in starts]

    found = list(embed_corpus(embedder, utterances, pieces=crops))
    assert seen == list(range(40))
    rng = np.random.default_rng(3)
    for index, each in enumerate(found):
        expected = crops(utterances[index].read(), index)
        assert each.embeddings_ND.shape == (len(expected), embedder.embedding_dim)
        if expected:
            np.testing.assert_allclose(each.embeddings_ND, _rows(embedder, expected), atol=1e-5)


def test_pieces_can_say_why_there_are_none(embedder: Embedder, utterances: list[Utterance]) -> None:
    def halves(wave: np.ndarray, index: int) -> list[np.ndarray]:
        if index == 2:
            raise InputError("too quiet")
        return np.array_split(wave, 2)

    reasons: dict[str, str] = {}
    found = list(
        embed_corpus(
            embedder,
            utterances[:4],
            pieces=halves,
            on_error=lambda who, why: reasons.update({who.id: str(why)}),
        )
    )
    assert [each.index for each in found] == [0, 1, 3] and reasons == {"u02": "too quiet"}


def test_windows_chosen_or_planned(embedder: Embedder, tmp_path: Path) -> None:
    """A planned window may lie anywhere in a recording of any length; chosen ones see the whole of it."""
    soundfile.write(tmp_path / "long.wav", noise(150.0), 16000, subtype="FLOAT")
    utterance = Utterance("long", tmp_path / "long.wav")
    times = np.array([[0.0, 1.5], [148.5, 150.0]])
    (chosen,) = embed_corpus(embedder, [utterance], windows=lambda wave, _: times[: 2 * bool(len(wave))])
    whole = embedder.embed_windows(utterance.read(), times)
    np.testing.assert_allclose(chosen.embeddings_ND, whole, atol=1e-6)
    (planned,) = embed_corpus(embedder, [utterance], windows=WindowPlan(window_s=1.5, hop_s=1.5))
    assert planned.embeddings_ND.shape == (100, embedder.embedding_dim)
    np.testing.assert_allclose(planned.embeddings_ND[[0, 99]], chosen.embeddings_ND, atol=1e-4)
    with pytest.raises(ValueError, match="exclude each other"):
        next(embed_corpus(embedder, [utterance], windows=lambda *_: times, pieces=lambda *_: []))


def test_one_rule_of_channels(embedder: Embedder, tmp_path: Path) -> None:
    """An utterance's own channel comes first, then the one that was asked for, then the mean."""
    left, right = noise(1.0, seed=1), noise(1.0, seed=2)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    both = [Utterance("any", path), Utterance("own", path, channel=0)]
    expected = _rows(embedder, [left, right, (left + right) / 2])
    rows = np.concatenate([each.embeddings_ND for each in embed_corpus(embedder, both, channel=1)])
    np.testing.assert_allclose(rows, expected[[1, 0]], atol=1e-5)
    (mean,) = embed_corpus(embedder, both[:1])
    np.testing.assert_allclose(mean.embeddings_ND[0], expected[2], atol=1e-5)


def test_a_cache_gives_the_same_without_the_files_and_never_grows_beyond_its_bound(
    embedder: Embedder, tmp_path: Path
) -> None:
    utterances = []
    for index in range(4):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, noise(5.0, seed=index), 16000, subtype="FLOAT")
        utterances.append(Utterance(f"u{index}", path))
    cache = AudioCache(1)  # room for three of 320,000 bytes
    first = [each.embeddings_ND for each in embed_corpus(embedder, utterances, cache=cache)]
    kept = [utterance for utterance in utterances if cache.get(utterance) is not None]
    assert len(kept) == 3
    for utterance in utterances:
        utterance.path.unlink()
    again = {each.index: each for each in embed_corpus(embedder, utterances, cache=cache, on_error="skip")}
    assert [utterances[index] for index in again] == kept
    for index, each in again.items():
        np.testing.assert_allclose(each.embeddings_ND, first[index], atol=1e-6)  # in other batches


def test_who_stops_asking_stops_the_work(
    embedder: Embedder, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = Utterance.read
    monkeypatch.setattr(
        Utterance,
        "read",
        lambda self, **how: read.append(self.id) or real(self, **how),  # type: ignore[func-returns-value]
    )
    asking = embed_corpus(embedder, utterances * 20, windows=lambda *_: np.array([[0.0, 0.2]]))
    assert next(asking).index == 0
    asking.close()  # type: ignore[attr-defined]
    assert len(read) < 40  # of 800: what is read ahead
