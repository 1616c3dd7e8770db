"""Attention: the weights that the network itself computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdpn.errors import InputError
from sdpn.explain.attention import attention_maps, attention_shares, require_attention
from sdpn.models.pooling import PoolingConfig, SelfAttentive
from sdpn.models.registry import SIZES, build_encoder
from sdpn.models.xvector import XVectorConfig
from tests.explain.conftest import network_of, voice


def _xvector(pooling: PoolingConfig) -> torch.nn.Module:
    config = XVectorConfig(channels=12, pooled_channels=16, embedding_dim=8, pooling=pooling)
    return build_encoder(config, 80)


def test_pooling_weights_are_those_of_its_scores() -> None:
    torch.manual_seed(0)
    network = network_of(_xvector(PoolingConfig(kind="self-attentive")))
    features_1FT = network.features(voice(0, 1.0, 0))
    seen: list[torch.Tensor] = []
    pooling = network.encoder.pooling
    assert isinstance(pooling, SelfAttentive)
    handle = pooling.score.register_forward_hook(lambda *args: seen.append(args[2]))
    (found,) = attention_maps(network, features_1FT)
    handle.remove()
    expected_T = seen[0][0, 0].exp() / seen[0][0, 0].exp().sum()
    assert found.layer == "pooling"
    np.testing.assert_allclose(found.over_time_T, expected_T.detach().numpy(), rtol=1e-5)


def test_self_attention_has_a_square_for_every_head() -> None:
    torch.manual_seed(0)
    network = network_of(build_encoder(SIZES["conformer-tiny"], 80))
    maps = attention_maps(network, network.features(voice(0, 1.0, 0)))
    squares = [found for found in maps if found.between_HTT is not None]
    assert [found.layer for found in squares] == ["blocks.0.attention", "blocks.1.attention"]
    for found in squares:
        np.testing.assert_allclose(found.between_HTT.sum(-1), 1, rtol=1e-4)
        np.testing.assert_allclose(found.heads_HT.sum(-1), 1, rtol=1e-4)
    assert maps[-1].layer == "pooling"


def test_a_network_without_attention_says_so() -> None:
    network = network_of(_xvector(PoolingConfig(kind="statistics")))
    maps = attention_maps(network, network.features(voice(0, 1.0, 0)))
    assert maps == []
    with pytest.raises(InputError, match="has no attention over time"):
        require_attention(maps)


def test_shares_by_hand() -> None:
    kinds = (
        ["silence"] * 2 + ["speech"] * 4 + ["noise"] * 2
    )  # two frames of the features for each of the layer
    shares = attention_shares(np.array([0.1, 0.3, 0.4, 0.2]), kinds)
    assert shares.weight == pytest.approx({"speech": 0.7, "noise": 0.2, "silence": 0.1})
    assert shares.time == pytest.approx({"speech": 0.5, "noise": 0.25, "silence": 0.25})
