"""Small networks whose right explanations are known, and small ones of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter
from torch import Tensor, nn

from sdpn.explain.network import ExplainedNetwork
from sdpn.features.frontend import Normalisation
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import Utterance, write_data_dir
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pooling import Mean, PoolingConfig
from sdpn.models.pretraining import Pretraining


class LinearEncoder(Encoder):
    """Linear from the features to the embedding: its explanations can be calculated by hand."""

    def __init__(self, embedding_dim: int = 6) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.frames = nn.Conv1d(80, 10, 1, bias=False)
        self.pooling = Mean(PoolingConfig(kind="mean"), 10)
        self.embedding = nn.Linear(10, embedding_dim, bias=False)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        assert lengths_B is None
        embedding_BD: Tensor = self.embedding(self.pooling(self.frames(features_BFT)))
        return embedding_BD


class SpectralEncoder(LinearEncoder):
    """Which of sixteen bands are louder than their mean: voices of different resonances differ."""

    def __init__(self) -> None:
        super().__init__(16)
        self.frames = nn.Conv1d(80, 16, 1, bias=False)
        bands = torch.eye(16).repeat_interleave(5, dim=1).unsqueeze(-1) / 5
        self.frames.weight.data = bands - bands.mean(0)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        assert lengths_B is None
        embedding_BD: Tensor = self.pooling(torch.relu(self.frames(features_BFT)))
        return embedding_BD


def network_of(encoder: Encoder, normalisation: Normalisation = "mean") -> ExplainedNetwork:
    """A network as explanations take it."""
    features = FeatureConfig(normalisation=normalisation)
    return ExplainedNetwork(Embedder(ModelFolder(encoder.eval(), EcapaConfig(), features)))


@pytest.fixture
def spectral() -> ExplainedNetwork:
    """A network that knows voices by their spectrum."""
    return network_of(SpectralEncoder(), "none")


@pytest.fixture
def linear() -> ExplainedNetwork:
    """A linear network."""
    torch.manual_seed(0)
    return network_of(LinearEncoder())


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of an untrained ECAPA with twelve prototypes."""
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    encoder = Ecapa(config, 80).eval()
    path = tmp_path_factory.mktemp("explained") / "model"
    head = {"layers.0.weight": torch.randn(8, 12), "layers.0.bias": torch.zeros(8)}
    save_model(
        path,
        ModelFolder(encoder, config, FeatureConfig()),
        pretraining=Pretraining(head, torch.randn(12, 8)),
    )
    return path


def voice(kind: int, seconds: float, seed: int) -> np.ndarray:
    """Noise with the two resonances of a voice (S,) float32."""
    rng = np.random.default_rng(seed)
    poles = np.array([0.97, 0.95]) * np.exp(1j * np.pi * np.array([0.06 + 0.06 * kind, 0.35 + 0.12 * kind]))
    wave = lfilter(
        [1.0], np.poly(np.concatenate([poles, poles.conj()])).real, rng.standard_normal(int(16000 * seconds))
    )
    return (0.2 * wave / np.abs(wave).max()).astype(np.float32)


def write_voices(folder: Path, kinds: Sequence[int], each: int, *, seconds: float = 2.0) -> list[Utterance]:
    """A data directory of voices with gender, and its utterances."""
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for kind in kinds:
        for number in range(each):
            path = folder / f"v{kind}-{number}.wav"
            soundfile.write(path, voice(kind, seconds, 100 * kind + number), 16000)
            utterances.append(Utterance(path.stem, path, speaker=f"v{kind}"))
    write_data_dir(folder, utterances)
    (folder / "spk2gender").write_text("".join(f"v{kind} {'fm'[kind % 2]}\n" for kind in kinds))
    return utterances
