"""The projection head."""

from __future__ import annotations

import pytest
import torch

from sdpn.models.heads import HeadConfig, ProjectionHead


@pytest.mark.parametrize(("num_hidden", "num_linear"), [(0, 1), (2, 3)])
def test_layers_shape_and_initialisation(num_hidden: int, num_linear: int) -> None:
    torch.manual_seed(0)
    head = ProjectionHead(HeadConfig(hidden_dim=256, num_hidden=num_hidden, projection_dim=32), 192)
    assert head(torch.randn(4, 192)).shape == (4, 32)
    linears = [layer for layer in head.layers if isinstance(layer, torch.nn.Linear)]
    assert len(linears) == num_linear
    for layer in linears:
        assert not layer.bias.any() and layer.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError):
        HeadConfig(projection_dim=0)
