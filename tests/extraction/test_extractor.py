"""Embeddings of a corpus: those of each utterance alone, however the work is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sdpn.extraction import clips
from sdpn.extraction.clips import WindowPlan
from sdpn.extraction.extractor import Extractor, Outcome
from sdpn.io.audio import Channel
from sdpn.io.kaldi import Utterance
from sdpn.models.cpu_threads import single_thread_convolutions
from sdpn.models.embedder import Embedder
from sdpn.models.registry import SIZES, build_encoder
from tests.extraction.conftest import noise


def _extracted(embedder: Embedder, utterances: Sequence[Utterance], **settings: Any) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}

    def finished(some: Sequence[Outcome]) -> None:
        for outcome in some:
            assert outcome.utterance.id not in outcomes
            outcomes[outcome.utterance.id] = outcome

    *_, done = Extractor(embedder, **settings).run(utterances, finished)
    assert done == len(outcomes) == len(utterances)
    return outcomes


def _cosines(outcomes: dict[str, Outcome], embedder: Embedder, utterances: Sequence[Utterance]) -> np.ndarray:
    found = []
    for utterance in utterances:
        rows = outcomes[utterance.id].embeddings_ND
        assert rows is not None
        alone = embedder.embed(utterance.read(), 16000)
        found.append(rows[0] @ alone / np.linalg.norm(rows[0]) / np.linalg.norm(alone))
    return np.array(found)


@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("threads", [1, 3])
def test_embeddings_are_those_of_each_utterance_alone(
    embedder: Embedder, utterances: list[Utterance], batch_size: int, threads: int
) -> None:
    outcomes = _extracted(embedder, utterances, batch_size=batch_size, threads=threads, readers=2)
    assert _cosines(outcomes, embedder, utterances).min() > 0.99999


def test_bf16_is_close(embedder: Embedder, utterances: list[Utterance]) -> None:
    embedder.precision = "bf16"
    outcomes = _extracted(embedder, utterances[:8])
    embedder.precision = "fp32"
    assert 0.999 < _cosines(outcomes, embedder, utterances[:8]).min() < 1 - 1e-9


def test_what_a_batch_brings_is_handed_over_before_the_next_begins(
    embedder: Embedder, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a kill takes one batch of each thread at most."""
    events: list[str] = []
    real = embedder.embed_batch

    def embed(waves: Sequence[np.ndarray]) -> np.ndarray:
        events.append("begun")
        return real(waves)

    monkeypatch.setattr(embedder, "embed_batch", embed)
    for _ in Extractor(embedder, batch_size=3).run(utterances, lambda _: events.append("finished")):
        pass
    assert events == ["begun", "finished"] * (len(events) // 2) and len(events) > 20


def test_a_long_utterance_is_the_mean_of_its_parts(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "LONGEST_S", 2.0)
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(6.0), 16000, subtype="FLOAT")
    (outcome,) = _extracted(embedder, [Utterance("a", path)], threads=2).values()
    wave = Utterance("a", path).read()
    parts = [embedder.embed(wave[at : at + 32000], 16000) for at in (0, 32000, 64000)]
    assert outcome.embeddings_ND is not None and outcome.duration_s == 6.0
    np.testing.assert_allclose(outcome.embeddings_ND[0], np.mean(parts, axis=0), atol=1e-5)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_windows_are_those_of_the_whole_recording(embedder: Embedder, tmp_path: Path, rate_hz: int) -> None:
    """Read in pieces, resampled in pieces, and yet the same."""
    path = tmp_path / "recording.flac"
    soundfile.write(path, noise(30.0, rate_hz=rate_hz), rate_hz)
    utterance = Utterance("a", path, 0.2, 29.7)
    plan = WindowPlan(window_s=1.0, hop_s=0.3)
    (outcome,) = _extracted(embedder, [utterance], windows=plan, threads=2, readers=2).values()
    whole = embedder.embed_windows(utterance.read(), plan.times(29.5))
    assert outcome.embeddings_ND is not None and outcome.embeddings_ND.shape == (96, 12)
    np.testing.assert_allclose(outcome.embeddings_ND, whole, atol=1e-4)


def test_a_long_recording_is_never_in_memory_at_once(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(400.0), 16000)
    longest = 0
    real = clips.Clip.read

    def read(self: clips.Clip, utterance: Utterance, *, channel: Channel = None) -> np.ndarray:
        nonlocal longest
        wave = real(self, utterance, channel=channel)
        longest = max(longest, len(wave))
        return wave

    monkeypatch.setattr(clips.Clip, "read", read)
    (outcome,) = _extracted(
        embedder, [Utterance("a", path)], windows=WindowPlan(window_s=1.5, hop_s=1.5), readers=2
    ).values()
    assert outcome.embeddings_ND is not None and len(outcome.embeddings_ND) == 267
    assert longest < 130 * 16000  # LONGEST_S and what lies around it


def test_a_nan_embedding_is_a_failure(
    embedder: Embedder, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = embedder.embed_batch

    def embed(waves: Sequence[np.ndarray]) -> np.ndarray:
        rows = real(waves)
        rows[0] = np.nan
        return rows

    monkeypatch.setattr(embedder, "embed_batch", embed)
    outcomes = _extracted(embedder, utterances[:3], batch_size=1)
    assert all("NaN" in str(outcome.error) for outcome in outcomes.values())


def test_an_error_of_ours_is_not_taken_for_a_bad_file(
    embedder: Embedder, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(_: Sequence[np.ndarray]) -> np.ndarray:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(embedder, "embed_batch", embed)
    with pytest.raises(RuntimeError, match="out of memory"):
        _extracted(embedder, utterances)


@pytest.mark.parametrize("name", [name for name in SIZES if name.endswith("-tiny")])
def test_preparing_changes_no_embedding(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(SIZES[name], 80).eval()
    features = torch.randn(2, 80, 150)
    lengths = torch.tensor([150, 131])
    with torch.inference_mode():
        before = encoder(features), encoder(features, lengths)
        with single_thread_convolutions(encoder):
            after = encoder(features), encoder(features, lengths)
        restored = encoder(features), encoder(features, lengths)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(restored, before, atol=0, rtol=0)  # bit for bit
