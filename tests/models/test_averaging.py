"""The mean of the weights of several models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.averaging import average_models
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder
from sdpn.models.registry import build_encoder

SMALL = EcapaConfig(channels=8, aggregation_channels=12, embedding_dim=6, bottleneck=4, dilations=(2,))


def model(seed: int, config: EcapaConfig = SMALL) -> ModelFolder:
    torch.manual_seed(seed)
    features = FeatureConfig()
    return ModelFolder(build_encoder(config, features.num_mels).eval(), config, features, {"a": 1.0})


def test_the_mean_of_three() -> None:
    models = [model(seed) for seed in range(3)]
    found = average_models(models, [Path(name) for name in "abc"])
    for name, value in found.encoder.state_dict().items():
        wanted = torch.stack([one.encoder.state_dict()[name].double() for one in models]).mean(0)
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
    assert found.calibration == {} and found.source == {"average_of": ["a", "b", "c"]}


def test_different_networks_have_none() -> None:
    wider = EcapaConfig(channels=16, aggregation_channels=12, embedding_dim=6, bottleneck=4, dilations=(2,))
    with pytest.raises(InputError, match="another encoder"):
        average_models([model(0), model(1, wider)], [Path("a"), Path("b")])
