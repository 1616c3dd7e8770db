"""A small network and a small corpus for all tests of extraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import Utterance
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, save_model


@pytest.fixture(scope="package")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ECAPA-TDNN whose embeddings differ from utterance to utterance."""
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    path = tmp_path_factory.mktemp("model") / "model"
    calibration = {"ahc_threshold": 0.4, "same_cosine": 0.7, "different_cosine": 0.1}
    save_model(path, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig(), calibration))
    return path


@pytest.fixture
def embedder(model_folder: Path) -> Embedder:
    """The network, loaded anew: an extractor prepares it for its own purposes."""
    from sdpn.models.folder import read_model

    return Embedder(read_model(model_folder))


def noise(seconds: float, seed: int = 0, rate_hz: int = 16000) -> np.ndarray:
    """Noise with a colour of its own, float32 (S,)."""
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(round(seconds * rate_hz))
    smooth = np.convolve(wave, rng.standard_normal(8), mode="same")
    return (0.1 * smooth / np.abs(smooth).max()).astype(np.float32)


@pytest.fixture(scope="package")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """40 utterances of 0.3 to 3 seconds, each in its file."""
    folder = tmp_path_factory.mktemp("corpus")
    lengths_s = np.random.default_rng(1).uniform(0.3, 3.0, 40)
    found = []
    for index, seconds in enumerate(lengths_s):
        path = folder / f"{index:02}.wav"
        soundfile.write(path, noise(seconds, seed=index), 16000, subtype="FLOAT")
        found.append(Utterance(f"u{index:02}", path))
    return found
