"""ECAPA-TDNN and its pooling: shapes, a reference formula, gradients everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.pooling import AttentiveStatistics, PoolingConfig

_TINY = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
_ATTENTION = PoolingConfig(
    kind="attentive-statistics", hidden="relu-norm-tanh", context=True, unbiased=False, floor=1e-6, passes=1
)


@pytest.mark.parametrize("num_frames", [1, 2, 7, 150])
def test_any_length_gives_an_embedding(num_frames: int) -> None:
    network = Ecapa(_TINY, 80).eval()
    embedding = network(torch.randn(3, 80, num_frames))
    assert embedding.shape == (3, 12) and torch.isfinite(embedding).all()


def test_an_utterance_embeds_the_same_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    network = Ecapa(_TINY, 80).eval()
    features = torch.randn(4, 80, 60)
    torch.testing.assert_close(network(features)[2:3], network(features[2:3]), atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = Ecapa(_TINY, 20).train()
    network(torch.randn(8, 20, 40)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # Before a softmax over time, a constant per channel changes nothing.
    assert dead in ([], ["pooling.score.bias"])


def test_the_size_of_the_default_network() -> None:
    # Counted by hand from the layer shapes: weights, biases, norms.
    c, a, d, k, f = 256, 512, 192, 64, 80
    unit = 2 * (c * c + c + 2 * c) + 3 * (64 * 64 * 3 + 64 + 2 * 64) + (c * k + k + k * c + c)
    pooling = (a * k + k) + 2 * a * k + 2 * k + (k * a + a)
    expected = (f * c * 5 + c + 2 * c) + 3 * unit + (3 * c * a + a) + pooling + 2 * (2 * a) + (2 * a * d + d)
    assert sum(p.numel() for p in Ecapa(EcapaConfig(), f).parameters()) == expected


def test_the_size_of_a_two_dimensional_stem() -> None:
    # First convolution, three blocks of two, two shortcuts with a stride, a norm after each; and a wider
    # first layer.
    c, wide, f = 6, 16, 80
    block = 2 * (c * c * 9 + 2 * c)
    added = (c * 9 + 2 * c) + 3 * block + 2 * (c * c + 2 * c) + 5 * wide * (c * f // 8)

    def size(config: EcapaConfig) -> int:
        return sum(p.numel() for p in Ecapa(config, f).parameters())

    assert size(replace(_TINY, spectral_channels=c)) - size(_TINY) == added


def test_uniform_attention_is_mean_and_standard_deviation() -> None:
    pooling = AttentiveStatistics(_ATTENTION, 5, 4).eval()
    torch.nn.init.zeros_(pooling.score.weight)
    frames = torch.randn(2, 5, 30)
    pooled = pooling(frames)
    torch.testing.assert_close(pooled[:, :5], frames.mean(-1))
    torch.testing.assert_close(pooled[:, 5:], frames.std(-1, unbiased=False), atol=1e-4, rtol=1e-3)


def test_split_context_equals_the_convolution_over_frame_and_statistics() -> None:
    """Equation 2 of arXiv 2005.07143 written out: one convolution over [frame; mean; deviation]."""
    torch.manual_seed(0)
    pooling = AttentiveStatistics(_ATTENTION, 6, 4).eval()
    frames = torch.randn(2, 6, 20)
    mean, deviation = frames.mean(-1, keepdim=True), frames.std(-1, unbiased=False, keepdim=True)
    stacked = torch.cat([frames, mean.expand_as(frames), deviation.expand_as(frames)], dim=1)
    weight = torch.cat([pooling.frame.weight[:, :, 0], pooling.context.weight], dim=1)
    hidden = torch.einsum("kc,bct->bkt", weight, stacked) + pooling.frame.bias[:, None]
    alpha = pooling.score(torch.tanh(pooling.norm(torch.relu(hidden)))).softmax(-1)
    weighted_mean = (alpha * frames).sum(-1)
    weighted_deviation = ((alpha * frames**2).sum(-1) - weighted_mean**2).clamp(min=1e-6).sqrt()
    torch.testing.assert_close(
        pooling(frames), torch.cat([weighted_mean, weighted_deviation], 1), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    "changes",
    [{"channels": 10, "res2_scale": 4}, {"dilations": ()}, {"bottleneck": 0}, {"spectral_channels": -1}],
)
def test_settings_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        EcapaConfig(**changes)  # type: ignore[arg-type]
