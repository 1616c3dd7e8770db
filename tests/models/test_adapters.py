"""Adapters: nothing changes at the start, merging is exact, folders belong to one base."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.adapter_folder import in_layers, save_adapters, with_adapters
from sdpn.models.adapters import (
    AdaptersConfig,
    adapter_weights,
    attach_adapters,
    is_of_adapter,
    merged,
    without_adapters,
)
from sdpn.models.depth import depths
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.registry import SIZES, build_encoder
from sdpn.models.weights import weights_digest

_KINDS = sorted(name for name in SIZES if name.endswith("-tiny"))


def _encoder(kind: str = "ecapa-tiny") -> tuple[Encoder, torch.Tensor]:
    torch.manual_seed(0)
    bands = 72 if kind.startswith("redimnet") else 80
    return build_encoder(SIZES[kind], bands).eval(), torch.randn(2, bands, 120)


def _trained(encoder: Encoder) -> Encoder:
    """With adapters that do something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in adapter_weights(encoder, AdaptersConfig()).values():
            value.copy_(0.05 * torch.randn(value.shape, generator=generator))
    return encoder


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("kind", _KINDS)
def test_linear_adapters_of_every_encoder_start_at_nothing_and_merge(kind: str, scale: bool) -> None:
    encoder, features = _encoder(kind)
    expected = encoder(features)
    adapted = copy.deepcopy(encoder)
    attach_adapters(adapted, AdaptersConfig(bottleneck=2, scale=scale))
    assert torch.equal(adapted(features), expected)
    changed = _trained(adapted)(features)
    assert (changed - expected).abs().max() > 1e-3 * expected.abs().max()
    inside = merged(adapted)
    assert inside.state_dict().keys() == encoder.state_dict().keys()
    torch.testing.assert_close(inside(features), changed, rtol=1e-3, atol=1e-4)
    assert torch.equal(without_adapters(adapted)(features), expected)


def test_scale_and_shift_are_of_output_channels() -> None:
    from torch import nn

    layer = nn.Sequential(nn.Conv1d(3, 5, 1))
    attach_adapters(layer, AdaptersConfig(bottleneck=2, scale=True))
    adapter: Any = layer[0].adapter
    assert adapter.scale_O.shape == adapter.shift_O.shape == (5,)
    x_BCT = torch.randn(2, 3, 4)
    plain = nn.functional.conv1d(x_BCT, layer[0].weight, layer[0].bias)  # type: ignore[arg-type]
    with torch.no_grad():
        adapter.scale_O[1], adapter.shift_O[2] = 0.5, -3.0
    expected = plain.clone()
    expected[:, 1] *= 1.5
    expected[:, 2] -= 3.0
    torch.testing.assert_close(layer(x_BCT), expected)
    without_bias = nn.Sequential(nn.Linear(3, 5, bias=False))
    attach_adapters(without_bias, AdaptersConfig(scale=True))
    assert not any("shift" in name for name in adapter_weights(without_bias, AdaptersConfig()))


@pytest.mark.parametrize("config", [AdaptersConfig(activation="relu"), AdaptersConfig(experts=3)])
def test_others_stay_beside_the_layers_and_ignore_padding(config: AdaptersConfig) -> None:
    encoder, features = _encoder()
    expected = encoder(features)
    attach_adapters(encoder, config)
    assert torch.equal(encoder(features), expected) and not config.is_exact
    _trained(encoder)
    padded = torch.cat([features, torch.full((2, 80, 40), 7.0)], dim=2)
    torch.testing.assert_close(
        encoder(padded, torch.tensor([120, 120])), encoder(features), rtol=1e-4, atol=1e-5
    )
    again = copy.deepcopy(encoder)  # as evaluation and export do
    assert torch.equal(again(features), encoder(features))


def test_a_mixture_is_a_weighted_sum_of_its_experts() -> None:
    from torch import nn

    layer = nn.Sequential(nn.Conv1d(3, 5, 1))
    attach_adapters(layer, AdaptersConfig(bottleneck=2, experts=2, activation="relu"))
    adapter = _trained(layer)[0].adapter  # type: ignore[type-var]
    x_BCT = torch.randn(1, 3, 4)
    plain = nn.functional.conv1d(x_BCT, layer[0].weight, layer[0].bias)  # type: ignore[arg-type]
    gate = torch.softmax(
        torch.einsum("ec,bct->bet", adapter.gate.weight[..., 0], x_BCT) + adapter.gate.bias[:, None], dim=1
    )
    expected = plain.clone()
    for expert in range(2):
        rows = slice(2 * expert, 2 * expert + 2)
        hidden = torch.relu(torch.einsum("rc,bct->brt", adapter.down.weight[rows, :, 0], x_BCT))
        own = torch.einsum("or,brt->bot", adapter.up.weight[:, rows, 0], hidden)
        expected = expected + gate[:, expert : expert + 1] * own
    torch.testing.assert_close(layer(x_BCT), expected)


def test_only_some_layers() -> None:
    encoder, _ = _encoder()
    attach_adapters(encoder, AdaptersConfig(only=("blocks.*.expand.0", "embedding")))
    layers = {name.rpartition(".adapter.")[0] for name in adapter_weights(encoder, AdaptersConfig())}
    assert layers == {"blocks.0.expand.0", "blocks.1.expand.0", "blocks.2.expand.0", "embedding"}
    with pytest.raises(InputError, match="no linear layer or convolution is called 'attention'"):
        attach_adapters(_encoder()[0], AdaptersConfig(only=("attention",)))


@pytest.mark.parametrize(
    "config",
    [
        AdaptersConfig(),
        AdaptersConfig(scale=True, norms=True),
        AdaptersConfig(activation="relu", experts=2, norms=True),
    ],
)
def test_a_folder_holds_the_small_part_and_its_base(config: AdaptersConfig, tmp_path: Path) -> None:
    encoder, features = _encoder()
    base = ModelFolder(encoder, SIZES["ecapa-tiny"], FeatureConfig())
    save_model(tmp_path / "base", base)
    adapted = copy.deepcopy(encoder)
    attach_adapters(adapted, config)
    _trained(adapted)
    if config.norms:
        adapted.train()(features)  # moves running averages
        with torch.no_grad():
            adapted.get_parameter("pooled_norm.weight").mul_(1.5)
    expected = adapted.eval()(features)
    model = replace(base, encoder=adapted, adapters=config)
    save_adapters(tmp_path / "adapters", model, base="mine", digest=weights_digest(encoder))
    small, whole = (
        (tmp_path / name).stat().st_size
        for name in ("adapters/adapters.safetensors", "base/model.safetensors")
    )
    assert small < 0.3 * whole
    found = with_adapters(read_model(tmp_path / "base"), tmp_path / "adapters")
    assert (found.adapters is None) is config.is_exact
    torch.testing.assert_close(found.encoder(features), expected, rtol=1e-3, atol=1e-4)
    save_model(tmp_path / "whole", in_layers(model))  # what is not merged is read with its adapters
    again = read_model(tmp_path / "whole")
    assert again.adapters == found.adapters
    torch.testing.assert_close(again.encoder(features), expected, rtol=1e-3, atol=1e-4)


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    encoder, _ = _encoder()
    base = ModelFolder(encoder, SIZES["ecapa-tiny"], FeatureConfig())
    adapted = copy.deepcopy(encoder)
    attach_adapters(adapted, AdaptersConfig())
    model = replace(base, encoder=adapted, adapters=AdaptersConfig())
    save_adapters(tmp_path / "a", model, base="mine", digest=weights_digest(encoder))
    torch.manual_seed(5)
    other = replace(base, encoder=build_encoder(SIZES["ecapa-tiny"], 80).eval())
    with pytest.raises(
        InputError, match=r"another base: mine, digest [0-9a-f]{16}; this model has the digest"
    ):
        with_adapters(other, tmp_path / "a")
    with pytest.raises(InputError, match=r"other features \(hop_ms differ\)"):
        with_adapters(replace(base, features=FeatureConfig(hop_ms=20.0)), tmp_path / "a")
    with pytest.raises(InputError, match=r"no folder of adapters"):
        with_adapters(base, tmp_path)


@pytest.mark.parametrize("kind", _KINDS)
def test_depth_grows_from_input_to_embedding(kind: str) -> None:
    encoder, features = _encoder(kind)
    found = depths(encoder, features)
    assert found.keys() == dict(encoder.named_parameters()).keys()
    assert set(found.values()) == set(range(max(found.values()) + 1))
    assert {found[name] for name in found if name.startswith("embedding.")} == {max(found.values())}
    assert not any(is_of_adapter(name) for name in found)


def test_the_depths_of_ecapa() -> None:
    encoder, features = _encoder()
    found = depths(encoder, features)
    first = {name.split(".")[0] if name[:6] != "blocks" else name[:8]: depth for name, depth in found.items()}
    assert first == {
        "stem": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3, "aggregation": 4, "pooling": 5,
        "pooled_norm": 5, "embedding": 6,
    }  # fmt: skip
