"""Windows of several recordings in the same batches: the embeddings of one after the other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sdpn.diarization.pipeline import Diarizer
from sdpn.diarization.recordings import RecordingOptions, diarize_recordings
from sdpn.diarization.shared_batches import SharedBatches
from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.rttm import read_rttm
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder
from sdpn.models.registry import build_encoder

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def model() -> Embedder:
    torch.manual_seed(0)
    features = FeatureConfig(num_mels=16)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    encoder = build_encoder(config, features.num_mels).eval()
    return Embedder(ModelFolder(encoder, config, features, source={}))


def noise(seed: int, duration_s: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.1, 0.1, round(duration_s * RATE_HZ)).astype(np.float32)


class Held:
    """A model that begins when it is told to, and remembers how many windows each batch had."""

    speech_network = None

    def __init__(self, model: Embedder) -> None:
        self._model, self.calibration = model, model.calibration
        self.go, self.begun = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        self.batches.append(len(windows_N2))
        self.begun.set()
        assert self.go.wait(30)
        return self._model.embed_windows(wave_S, windows_N2)


def test_what_waits_becomes_one_batch(model: Embedder) -> None:
    held = Held(model)
    requests = [
        (noise(seed, duration_s), np.array([[0.1, 1.6], [0.15, duration_s - 0.1]]))
        for seed, duration_s in enumerate((2.0, 3.03, 2.5, 1.75, 2.0))
    ]
    with SharedBatches(held, at_once=6) as shared:
        first = shared.embed_later(*requests[0])
        assert held.begun.wait(30)
        others = [shared.embed_later(*one) for one in requests[1:]]
        held.go.set()
        found = [future.result(30) for future in (first, *others)]
    assert held.batches == [2, 6, 2]
    assert (shared.num_batches, shared.num_windows) == (3, 10)
    for rows_ND, (wave_S, windows_N2) in zip(found, requests, strict=True):
        np.testing.assert_allclose(rows_ND, model.embed_windows(wave_S, windows_N2), atol=1e-5)


def test_every_thread_gets_its_own(model: Embedder) -> None:
    requests = [(noise(seed, 1.0 + seed / 40), np.array([[0.1, 0.9]])) for seed in range(40)]
    with SharedBatches(model) as shared, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: shared.embed_windows(*one), requests))
    for rows_ND, one in zip(found, requests, strict=True):
        np.testing.assert_allclose(rows_ND, model.embed_windows(*one), atol=1e-5)


def test_an_error_reaches_those_who_asked(model: Embedder) -> None:
    with SharedBatches(model) as shared:
        wrong = shared.embed_later(noise(0, 1.0), np.array([[0.5, 0.4]]))
        with pytest.raises(InputError, match="windows must start before they end"):
            wrong.result(30)
        assert shared.embed_windows(noise(1, 1.0), np.array([[0.1, 0.9]])).shape == (1, 12)


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, Path]:
    files = {}
    for number in range(5):
        path = tmp_path / f"r{number}.wav"
        soundfile.write(path, noise(number, 12.0 + number), RATE_HZ)
        files[path.stem] = path
    return files


def _diarize(model: Embedder, recordings: dict[str, Path], out: Path, **options: Any) -> Any:
    return diarize_recordings(
        Diarizer(model),
        recordings,
        out,
        RecordingOptions(num_speakers=2, force=True, **options),
        made_with={},
        speech_of={name: [(0.5, 4.0), (5.0, 11.5)] for name in recordings},
    )


def test_turns_are_those_of_one_after_the_other(
    model: Embedder, recordings: dict[str, Path], tmp_path: Path
) -> None:
    recordings["r3"].write_bytes(recordings["r3"].read_bytes()[:-5000])  # truncated: its header says more
    alone = _diarize(model, recordings, tmp_path / "alone", skip_bad=True)
    together = _diarize(model, recordings, tmp_path / "together", skip_bad=True, together=3)
    assert [row["recording"] for row in together.files] == list(recordings)
    for one, other in zip(alone.files, together.files, strict=True):
        assert {**one, "seconds": 0, "outputs": 0} == {**other, "seconds": 0, "outputs": 0}
        files = [tmp_path / folder / f"{one['recording']}.rttm" for folder in ("alone", "together")]
        assert read_rttm(files[0]) == read_rttm(files[1]) and read_rttm(files[0])


def test_one_that_fails_does_not_stop_the_others(
    model: Embedder, recordings: dict[str, Path], tmp_path: Path
) -> None:
    samples, _ = soundfile.read(recordings["r1"], dtype="float32")
    samples[100_000] = np.nan
    soundfile.write(recordings["r1"], samples, RATE_HZ, subtype="FLOAT")
    done = _diarize(model, recordings, tmp_path / "out", together=2)
    assert [row["recording"] for row in done.files] == ["r0", "r2", "r3", "r4"]
    (failure,) = done.failures
    assert str(failure.path) == str(recordings["r1"])


def test_stopping_ends_all_threads(model: Embedder, recordings: dict[str, Path], tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(number: int, _name: str, _done_s: float, _total_s: float | None) -> None:
        if number == 2:
            raise Stopped

    before = threading.active_count()
    with pytest.raises(Stopped):
        diarize_recordings(
            Diarizer(model),
            recordings,
            tmp_path,
            replace(RecordingOptions(), together=2),
            made_with={},
            on_progress=stop,
        )
    assert threading.active_count() == before
