"""The transformer's blocks against torch's own layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sdpn.models.conformer import Conformer, ConformerConfig
from sdpn.models.transformer import Transformer, TransformerBlock, TransformerConfig


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_block_is_torchs_layer(norm_first: bool) -> None:
    torch.manual_seed(0)
    config = TransformerConfig(width=24, heads=3, feed_forward=40, norm_first=norm_first, dropout=0.0)
    block = TransformerBlock(config)
    layer = nn.TransformerEncoderLayer(24, 3, 40, 0.0, batch_first=True, norm_first=norm_first)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    own = block.state_dict()
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": own["inputs.weight"],
            "self_attn.in_proj_bias": own["inputs.bias"],
            "self_attn.out_proj.weight": own["output.weight"],
            "self_attn.out_proj.bias": own["output.bias"],
            "linear1.weight": own["expand.weight"],
            "linear1.bias": own["expand.bias"],
            "linear2.weight": own["reduce.weight"],
            "linear2.bias": own["reduce.bias"],
            "norm1.weight": own["attention_norm.weight"],
            "norm1.bias": own["attention_norm.bias"],
            "norm2.weight": own["feed_forward_norm.weight"],
            "norm2.bias": own["feed_forward_norm.bias"],
        }
    )
    hidden = torch.randn(2, 9, 24)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    torch.testing.assert_close(block(hidden, None), layer(hidden), atol=1e-5, rtol=1e-4)
    expected = layer(hidden, src_key_padding_mask=~mask)
    torch.testing.assert_close(block(hidden, mask)[mask], expected[mask], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [TransformerConfig, ConformerConfig])
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 30, "heads": 4}, r"width \(30\) must be even, and a multiple of the heads \(4\)"),
        ({"width": 9, "heads": 3}, r"width \(9\) must be even"),
        ({"heads": 0}, "must be positive"),
        ({"feed_forward": 0}, "must be positive"),
        ({"num_blocks": 0}, "must be positive"),
        ({"embedding_dim": 0}, "must be positive"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_sizes_that_do_not_fit(kind: Any, sizes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**sizes)


@pytest.mark.parametrize(("kind", "build"), [(TransformerConfig, Transformer), (ConformerConfig, Conformer)])
def test_heads_of_odd_width(kind: Any, build: Any) -> None:
    network = build(kind(width=10, heads=2, feed_forward=8, num_blocks=1), 6).eval()
    assert network(torch.randn(2, 6, 20)).shape == (2, network.embedding_dim)


@pytest.mark.parametrize(("kind", "build"), [(TransformerConfig, Transformer), (ConformerConfig, Conformer)])
def test_batch_norm_of_the_input_takes_level_and_spread_of_bands(kind: Any, build: Any) -> None:
    torch.manual_seed(0)
    config = kind(width=8, heads=2, feed_forward=8, num_blocks=1, input_norm="batch", dropout=0.0)
    network = build(config, 6).train()
    features = torch.randn(4, 6, 30)
    moved = 5.0 * features * torch.rand(1, 6, 1).add(0.5) - 40.0 * torch.rand(1, 6, 1)
    torch.testing.assert_close(network(moved), network(features), atol=1e-3, rtol=1e-3)
    plain = build(kind(width=8, heads=2, feed_forward=8, num_blocks=1, dropout=0.0), 6).train()
    assert not torch.allclose(plain(moved), plain(features), atol=1e-2)
