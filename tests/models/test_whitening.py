"""Whitening: against the covariance computed by hand, and what a head sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder
from sdpn.models.heads import HeadConfig, ProjectionHead
from sdpn.models.pretraining import Pretraining
from sdpn.models.registry import build_encoder
from sdpn.models.resnet import ResNetConfig
from sdpn.models.whitening import whiten

_DIM = 6


def _model() -> ModelFolder:
    torch.manual_seed(0)
    config = EcapaConfig(channels=8, aggregation_channels=8, embedding_dim=_DIM, res2_scale=2, bottleneck=4)
    return ModelFolder(build_encoder(config, 80).eval(), config, FeatureConfig(), {"ahc_threshold": 0.3})


def _map() -> Tensor:
    return torch.randn(_DIM, _DIM, generator=torch.Generator().manual_seed(1))


def test_embeddings_are_mapped_and_the_old_calibration_is_gone() -> None:
    model, transform_DD = _model(), _map()
    whitened, _ = whiten(model, None, transform_DD)
    features_BFT = torch.randn(4, 80, 50)
    with torch.no_grad():
        before_BD, after_BD = model.encoder(features_BFT), whitened.encoder(features_BFT)
    wanted_BD = before_BD @ transform_DD.T
    ratios = (after_BD / wanted_BD).flatten()
    np.testing.assert_allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-3)
    assert whitened.calibration == {} and model.calibration == {"ahc_threshold": 0.3}


@pytest.mark.parametrize("hidden", [0, 1])
def test_the_head_sees_what_it_was_trained_on(hidden: int) -> None:
    model, transform_DD = _model(), _map()
    config = HeadConfig(hidden_dim=5, num_hidden=hidden, projection_dim=3)
    head = ProjectionHead(config, _DIM).eval()
    pretraining = Pretraining(head.state_dict(), torch.randn(4, 3))
    whitened, changed = whiten(model, pretraining, transform_DD)
    assert changed is not None and torch.equal(changed.prototypes, pretraining.prototypes)
    other = ProjectionHead(config, _DIM).eval()
    other.load_state_dict(changed.head)
    features_BFT = torch.randn(4, 80, 50)
    with torch.no_grad():
        wanted_BE, found_BE = head(model.encoder(features_BFT)), other(whitened.encoder(features_BFT))
    torch.testing.assert_close(found_BE, wanted_BE, rtol=1e-3, atol=1e-5)


def test_the_map_of_a_covariance_makes_it_the_identity_in_cosines() -> None:
    """Cosines after the map are those that the inverse covariance defines: x W⁻¹ y / √(x W⁻¹ x · y W⁻¹ y)."""
    model = _model()
    root_DD = torch.randn(_DIM, _DIM, generator=torch.Generator().manual_seed(2))
    within_DD = root_DD @ root_DD.T + torch.eye(_DIM)
    transform_DD = torch.linalg.inv(torch.linalg.cholesky(within_DD))
    whitened, _ = whiten(model, None, transform_DD)
    with torch.no_grad():
        features_BFT = torch.randn(2, 80, 50)
        x, y = model.encoder(features_BFT)
        u, v = whitened.encoder(features_BFT)
    inverse_DD = torch.linalg.inv(within_DD)
    wanted = (x @ inverse_DD @ y) / ((x @ inverse_DD @ x) * (y @ inverse_DD @ y)).sqrt()
    assert torch.cosine_similarity(u, v, dim=0).item() == pytest.approx(wanted.item(), abs=1e-4)


class _Normed(Encoder):
    """Ends in a norm behind its linear layer."""

    embedding_dim = _DIM

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(80, _DIM)
        self.norm = nn.LayerNorm(_DIM)

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        assert lengths_B is None
        normed: Tensor = self.norm(self.embedding(features_BFT.mean(-1)))
        return normed


def test_encoders_that_do_not_end_in_a_linear_layer_are_refused() -> None:
    resnet = build_encoder(ResNetConfig(), 80).eval()
    for encoder in (_Normed().eval(), resnet):
        model = ModelFolder(encoder, EcapaConfig(), FeatureConfig())
        with pytest.raises(InputError, match="does not end in a linear layer"):
            whiten(model, None, torch.eye(_DIM))
