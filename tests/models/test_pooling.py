"""Poolings against numpy, one utterance at a time, with and without padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdpn.features.lengths import mask_of
from sdpn.models.pooling import POOLINGS, PoolingConfig, build_pooling

CONFIGS = [
    PoolingConfig(kind="mean"),
    PoolingConfig(kind="statistics"),
    PoolingConfig(kind="self-attentive", hidden="none"),
    PoolingConfig(kind="self-attentive", hidden="tanh", bottleneck=5),
    PoolingConfig(kind="self-attentive", hidden="relu-norm-tanh", bottleneck=5),
    PoolingConfig(kind="attentive-statistics", bottleneck=5),
    PoolingConfig(kind="attentive-statistics", bottleneck=5, context=True),
    PoolingConfig(kind="attentive-statistics", bottleneck=5, hidden="relu-norm-tanh", context=True, passes=1),
    PoolingConfig(kind="multi-head", hidden="none", heads=4),
    PoolingConfig(kind="multi-head", hidden="tanh", heads=2, bottleneck=5),
]


def _name(config: PoolingConfig) -> str:
    return f"{config.kind}-{config.hidden}-{'context' if config.context else 'plain'}"


def _weights(scores_CT: np.ndarray) -> np.ndarray:
    scores = np.exp(scores_CT - scores_CT.max(-1, keepdims=True))
    weights: np.ndarray = scores / scores.sum(-1, keepdims=True)
    return weights


def test_every_pooling_is_tested() -> None:
    assert {config.kind for config in CONFIGS} == POOLINGS.keys()


@pytest.mark.parametrize("config", CONFIGS, ids=_name)
def test_padding_changes_nothing(config: PoolingConfig) -> None:
    torch.manual_seed(0)
    pooling = build_pooling(config, 8).eval()
    frames, lengths = torch.randn(3, 8, 30), torch.tensor([30, 17, 1])
    together = pooling(frames, mask_of(lengths, 30))
    assert together.shape == (3, pooling.num_outputs)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            together[row], pooling(frames[row : row + 1, :, :length])[0], atol=1e-5, rtol=1e-4
        )


def test_statistics() -> None:
    frames = np.random.default_rng(0).standard_normal((2, 8, 30)) * 3 + 5
    pooled = build_pooling(PoolingConfig(kind="statistics"), 8)(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(pooled[:, :8], frames.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(pooled[:, 8:], frames.std(-1, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("hidden", ["none", "tanh"])
def test_self_attention(hidden: str) -> None:
    """Zhu et al. 2018, equations 1-3: softmax of v · f(W h + b), then the weighted mean."""
    torch.manual_seed(0)
    config = PoolingConfig(kind="self-attentive", hidden=hidden, bottleneck=5)  # type: ignore[arg-type]
    pooling = build_pooling(config, 8)
    state = {key: value.squeeze(-1).numpy() for key, value in pooling.state_dict().items()}
    frames_CT = np.random.default_rng(0).standard_normal((8, 30)).astype(np.float32)
    inner = frames_CT
    if hidden == "tanh":
        inner = np.tanh(state["hidden.0.weight"] @ frames_CT + state["hidden.0.bias"][:, None])
    weights_1T = _weights(state["score.weight"] @ inner)
    pooled = pooling(torch.from_numpy(frames_CT)[None])[0].detach().numpy()
    np.testing.assert_allclose(pooled, (frames_CT * weights_1T).sum(-1), rtol=1e-4, atol=1e-6)


def test_each_head_averages_its_own_channels() -> None:
    torch.manual_seed(0)
    pooling = build_pooling(PoolingConfig(kind="multi-head", hidden="none", heads=4), 8)
    query_HC = pooling.state_dict()["score.weight"].squeeze(-1).numpy()
    frames_CT = np.random.default_rng(0).standard_normal((8, 30)).astype(np.float32)
    expected = []
    for head in range(4):
        own = frames_CT[2 * head : 2 * head + 2]
        expected += list((own * _weights(query_HC[head : head + 1] @ own)).sum(-1))
    pooled = pooling(torch.from_numpy(frames_CT)[None])[0].detach().numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-6)


def test_two_passes_are_exact_for_channels_that_hardly_vary() -> None:
    rng = np.random.default_rng(0)
    frames = (100 + 1e-3 * rng.standard_normal((1, 4, 500))).astype(np.float32)
    config = PoolingConfig(kind="attentive-statistics", bottleneck=3, floor=1e-12)
    pooling = build_pooling(config, 4)
    torch.nn.init.zeros_(pooling.get_parameter("score.weight"))
    deviation = pooling(torch.from_numpy(frames))[0, 4:].detach().numpy()
    np.testing.assert_allclose(deviation, frames.astype(np.float64)[0].std(-1), rtol=1e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "attentive-statistics", "hidden": "none"},
        {"kind": "mean", "context": True},
        {"heads": 0},
        {"floor": 0.0},
    ],
)
def test_settings_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        PoolingConfig(**changes)  # type: ignore[arg-type]


def test_channels_that_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        build_pooling(PoolingConfig(kind="multi-head", heads=3), 8)
