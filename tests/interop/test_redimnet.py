"""Files of ReDimNet2 against a plain computation with the weights under their published names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sdpn
from sdpn.errors import InputError
from sdpn.features.redimnet_mel import ReDimNetMelConfig
from sdpn.models.cost import cost_of
from sdpn.models.registry import SIZES

#: Sizes that differ on every axis.
CONFIG: dict[str, Any] = {
    "F": 24,
    "C": 4,
    "out_channels": 10,
    "return_2d_output": True,
    "agg_gnorm": True,
    "feat_type": "tf",
    "spec_params": {"do_preemph": True, "do_spec_aug": False, "norm_signal": True},
    "embed_dim": 20,
    "hop_length": 160,
    "stages_setup": [
        [[1, 1], 2, 2, [[3, 3]], 12],
        [[2, 2], 1, 3, [[3, 3]], 8],
        [[3, 2], 2, 1, [[3, 3]], 6],
    ],
}


def _weights(config: dict[str, Any]) -> dict[str, Tensor]:
    """Random weights under the names of the published modules."""
    generator = torch.Generator().manual_seed(5)
    weights: dict[str, Tensor] = {}

    def fill(name: str, *shape: int, around: float = 0.0) -> None:
        scale = 0.3 if len(shape) < 2 else 1 / math.sqrt(math.prod(shape[1:]))
        weights[name] = around + scale * torch.randn(shape, generator=generator)

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        fill(f"{name}.weight", *shape)
        if bias:
            fill(f"{name}.bias", shape[0])

    def norm(name: str, size: int, *, running: bool = True) -> None:
        fill(f"{name}.weight", size, around=1.0)
        fill(f"{name}.bias", size)
        if running:
            fill(f"{name}.running_mean", size)
            weights[f"{name}.running_var"] = 0.5 + torch.rand(size, generator=generator)
            weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    channels, bands = config["C"], config["F"]
    wide, rate = channels * bands, 1
    layer("backbone.stem.0", channels, 1, 3, 3)
    norm("backbone.stem.1", channels, running=False)
    if config["agg_gnorm"]:
        norm("backbone.stem_gnorm", wide, running=False)
    for index, ((down, slow), blocks, expansion, _kernels, divisor) in enumerate(config["stages_setup"]):
        stage, rate = f"backbone.stage{index}", rate * slow
        fill(f"{stage}.0.w", 1, index + 1, wide, 1)
        inside = down * channels * expansion
        layer(f"{stage}.2", inside, channels // math.gcd(channels, inside), down, rate)
        channels *= down
        for block in range(blocks):
            for number in (1, 2):
                name = f"{stage}.{3 + block}.conv_block"
                layer(f"{name}.conv{number}", inside, 1, 3, 3, bias=False)
                layer(f"{name}.conv{number}pw", inside, inside, 1, 1)
                norm(f"{name}.bn{number}", inside)
        at = 3 + blocks
        if expansion > 1:
            layer(f"{stage}.{at}.0", channels, inside, 1, 1)
            norm(f"{stage}.{at}.1", channels)
            at += 1
        context, units = f"{stage}.{at + 1}", wide // divisor
        layer(f"{context}.red_dim_conv.0", units, wide, 1)
        norm(f"{context}.red_dim_conv.1", units, running=False)
        for number, kernel in enumerate((7, 19, 31, 59)):
            layer(f"{context}.tcm.{number}.dwconvs.0", units, 1, kernel)
            norm(f"{context}.tcm.{number}.norm", units)
            layer(f"{context}.tcm.{number}.pwconv1", units, units, 1)
        for name in ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj"):
            layer(f"{context}.tcm.4.{name}", units, units)
        for name in ("feed_forward.intermediate_dense", "feed_forward.output_dense"):
            layer(f"{context}.tcm.4.{name}", units, units)
        for name in ("layer_norm", "final_layer_norm"):
            norm(f"{context}.tcm.4.{name}", units, running=False)
        layer(f"{context}.exp_dim_conv", wide, units, 1)
        if config["agg_gnorm"]:
            norm(f"{stage}.{at + 3}", wide, running=False)
    fill("backbone.fin_wght1d.w", 1, len(config["stages_setup"]) + 1, wide, 1)
    if config["out_channels"] is not None:
        layer("backbone.head", config["out_channels"], channels, 1, 1)
        channels_out = config["out_channels"]
    else:
        channels_out = channels
    pooled = channels_out * (config["C"] * bands // channels)
    layer("pool.linear1", 128, 3 * pooled, 1)
    layer("pool.linear2", pooled, 128, 1)
    norm("bn", 2 * pooled)
    layer("linear", config["embed_dim"], 2 * pooled)
    weights["spec.torchfbank.1.flipped_filter"] = torch.tensor([[[-0.97, 1.0]]])
    return weights


def _mel(wave: np.ndarray, num_mels: int) -> np.ndarray:
    """Features as published, (F, T), in float64."""
    wave = (wave - wave.mean()) / (wave.std() + 1e-8)
    wave = wave - 0.97 * np.concatenate([wave[1:2], wave[:-1]])
    wave = np.concatenate([np.zeros(80), wave, np.zeros(80)])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    frames = np.stack([wave[at : at + 400] * window for at in range(0, len(wave) - 399, 160)])
    power = np.clip(np.abs(np.fft.rfft(frames, 512)[:, :256]) ** 2, 1e-8, 1e8)

    def mel(hz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hz / 700)

    points = np.linspace(mel(np.array(20.0)), mel(np.array(7600.0)), num_mels + 2)
    bins = mel(np.linspace(0, 8000, 256))[:, None]
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    filters[0] = 0
    logs = np.log(np.clip(power @ filters, 1e-8, 1e8) + 1e-8)
    features: np.ndarray = (logs - logs.mean(0)).T
    return features


def _embedding(wave: np.ndarray, config: dict[str, Any], weights: dict[str, Tensor]) -> np.ndarray:
    """What the published network computes, layer after layer."""
    named = {key: value.double() for key, value in weights.items() if value.is_floating_point()}

    def layer(apply: Callable[..., Tensor], hidden: Tensor, name: str, **settings: Any) -> Tensor:
        return apply(hidden, named[f"{name}.weight"], named.get(f"{name}.bias"), **settings)

    def batch_norm(hidden: Tensor, name: str, eps: float = 1e-5) -> Tensor:
        parts = [named[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(hidden, *parts, eps=eps)

    def over_channels(hidden: Tensor, name: str) -> Tensor:
        moved = hidden.movedim(1, -1)
        scale, shift = named[f"{name}.weight"], named[f"{name}.bias"]
        return F.layer_norm(moved, scale.shape, scale, shift, 1e-6).movedim(-1, 1)

    def groups(hidden: Tensor, name: str) -> Tensor:
        if not config["agg_gnorm"]:
            return hidden
        return F.group_norm(hidden, config["C"], named[f"{name}.weight"], named[f"{name}.bias"])

    def mixed(maps: list[Tensor], name: str) -> Tensor:
        return (named[name].softmax(1) * torch.stack(maps, dim=1)).sum(1)

    def flat(hidden: Tensor) -> Tensor:
        return hidden.permute(0, 2, 1, 3).reshape(1, -1, hidden.shape[-1])

    channels, bands, rate = config["C"], config["F"], 1
    slowest = math.prod(stage[0][1] for stage in config["stages_setup"])
    features = torch.from_numpy(_mel(wave, bands))[None, None]
    features = features[..., : features.shape[-1] // slowest * slowest]
    stem = over_channels(layer(F.conv2d, features, "backbone.stem.0", padding=1), "backbone.stem.1")
    maps = [groups(flat(stem), "backbone.stem_gnorm")]
    for index, ((down, slow), blocks, expansion, *_) in enumerate(config["stages_setup"]):
        stage, rate = f"backbone.stage{index}", rate * slow
        hidden = mixed(maps, f"{stage}.0.w")
        hidden = hidden.reshape(1, bands, channels, -1).permute(0, 2, 1, 3)
        inside = down * channels * expansion
        hidden = layer(F.conv2d, hidden, f"{stage}.2", stride=(down, rate), groups=math.gcd(channels, inside))
        channels, bands = channels * down, bands // down
        for block in range(blocks):
            name = f"{stage}.{3 + block}.conv_block"
            before = hidden
            hidden = layer(F.conv2d, hidden, f"{name}.conv1", padding=1, groups=inside)
            hidden = batch_norm(torch.relu(layer(F.conv2d, hidden, f"{name}.conv1pw")), f"{name}.bn1")
            hidden = layer(F.conv2d, hidden, f"{name}.conv2", padding=1, groups=inside)
            hidden = batch_norm(layer(F.conv2d, hidden, f"{name}.conv2pw"), f"{name}.bn2")
            hidden = torch.relu(before + hidden)
        at = 3 + blocks
        if expansion > 1:
            hidden = batch_norm(layer(F.conv2d, hidden, f"{stage}.{at}.0"), f"{stage}.{at}.1", 1e-6)
            at += 1
        context = f"{stage}.{at + 1}"
        unfolded = flat(hidden)
        units = over_channels(
            layer(F.conv1d, unfolded, f"{context}.red_dim_conv.0"), f"{context}.red_dim_conv.1"
        )
        for number, kernel in enumerate((7, 19, 31, 59)):
            name = f"{context}.tcm.{number}"
            wide = layer(F.conv1d, units, f"{name}.dwconvs.0", padding=kernel // 2, groups=units.shape[1])
            units = units + layer(F.conv1d, F.gelu(batch_norm(wide, f"{name}.norm")), f"{name}.pwconv1")
        rows = units[0].T
        size = rows.shape[1]
        query, key, value = (
            layer(F.linear, rows, f"{context}.tcm.4.attention.{name}_proj")
            .reshape(-1, 4, size // 4)
            .transpose(0, 1)
            for name in "qkv"
        )
        shares = (query @ key.transpose(1, 2) / math.sqrt(size // 4)).softmax(-1)
        attended = (shares @ value).transpose(0, 1).reshape(-1, size)
        rows = rows + layer(F.linear, attended, f"{context}.tcm.4.attention.out_proj")
        rows = over_channels(rows, f"{context}.tcm.4.layer_norm")
        fed = layer(F.linear, rows, f"{context}.tcm.4.feed_forward.intermediate_dense")
        fed = fed * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (fed + 0.044715 * fed**3)))
        rows = rows + layer(F.linear, fed, f"{context}.tcm.4.feed_forward.output_dense")
        rows = over_channels(rows, f"{context}.tcm.4.final_layer_norm")
        unfolded = unfolded + layer(F.conv1d, rows.T[None], f"{context}.exp_dim_conv")
        maps.append(groups(F.interpolate(unfolded, scale_factor=rate), f"{stage}.{at + 3}"))
    hidden = mixed(maps, "backbone.fin_wght1d.w").reshape(1, bands, channels, -1).permute(0, 2, 1, 3)
    if config["out_channels"] is not None:
        hidden = layer(F.conv2d, hidden, "backbone.head")
    frames = hidden.reshape(1, -1, hidden.shape[-1])
    mean, deviation = frames.mean(-1, keepdim=True), (frames.var(-1, keepdim=True) + 1e-7).sqrt()
    seen = torch.cat([frames, mean.expand_as(frames), deviation.expand_as(frames)], dim=1)
    scores = layer(F.conv1d, torch.tanh(layer(F.conv1d, seen, "pool.linear1")), "pool.linear2").softmax(-1)
    mean = (scores * frames).sum(-1)
    deviation = ((scores * frames**2).sum(-1) - mean**2).clamp(min=1e-7).sqrt()
    pooled = batch_norm(torch.cat([mean, deviation], dim=1), "bn")
    embedding: np.ndarray = layer(F.linear, pooled, "linear")[0].numpy()
    return embedding


def _wave(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.standard_normal(round(seconds * 16000)), rng.standard_normal(8), mode="same")
    return (0.1 * smooth / np.abs(smooth).max()).astype(np.float32)


def save(path: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = {**CONFIG, **changes}
    weights = _weights(config)
    torch.save({"model_config": config, "state_dict": weights}, path)
    return config, weights


@pytest.mark.parametrize("changes", [{}, {"agg_gnorm": False, "out_channels": None}], ids=["b0", "b1"])
@pytest.mark.parametrize("seconds", [1.0, 1.017, 2.5])
def test_embeddings_are_those_of_the_published_layers(
    tmp_path: Path, changes: dict[str, Any], seconds: float
) -> None:
    config, weights = save(tmp_path / "b.pt", **changes)
    model = sdpn.load_model(tmp_path / "b.pt")
    assert isinstance(model.feature_config, ReDimNetMelConfig)
    wave = _wave(seconds)
    expected = _embedding(wave.astype(np.float64), config, weights)
    ours = model.embed(wave, 16000)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    assert ours @ expected / np.linalg.norm(ours) / np.linalg.norm(expected) > 0.99999


@pytest.mark.parametrize(
    ("name", "millions", "giga_macs"),
    [
        ("redimnet2", 1.1, 0.33),
        pytest.param("redimnet2-b1", 2.1, 0.56, marks=pytest.mark.slow),
        pytest.param("redimnet2-b2", 3.6, 0.95, marks=pytest.mark.slow),
    ],
)
def test_sizes_are_as_published(name: str, millions: float, giga_macs: float) -> None:
    """Parameters as in the project's table, cut off after one digit; MACs of two seconds, features aside."""
    cost = cost_of(SIZES[name], 72)
    assert math.floor(cost.parameters / 1e5) / 10 == millions
    assert 0.85 * giga_macs < 2 * cost.macs_per_s / 1e9 < giga_macs


def test_a_batch_and_windows_are_as_alone(tmp_path: Path) -> None:
    save(tmp_path / "b.pt")
    model = sdpn.load_model(tmp_path / "b.pt")
    waves = [_wave(seconds, seed) for seed, seconds in enumerate((1.0, 1.4, 0.63))]
    together = model.embed_batch(waves)
    for wave, row in zip(waves, together, strict=True):
        np.testing.assert_allclose(model.embed(wave, 16000), row, atol=2e-3)
    windows = np.array([[0.5, 1.3], [1.0, 2.0]])
    rows = model.embed_windows(_wave(3.0), windows)
    for (start, end), row in zip(windows, rows, strict=True):
        alone = model.embed(_wave(3.0)[round(start * 16000) : round(end * 16000)], 16000)
        # a frame at an edge sees what lies beyond it, where the cut-out has zeros
        assert row @ alone / np.linalg.norm(row) / np.linalg.norm(alone) > 0.98


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_1d_type": "att"}, r"block_1d_type = 'att'; only 'conv\+att' is supported"),
        ({"causal": "full"}, "causal = 'full'"),
        ({"feat_type": "pt"}, "features are of type 'pt'; only 'tf' is supported"),
        ({"spec_params": {"n_fft": 1024}}, "n_fft = 1024"),
        ({"stages_setup": [[[1, 1], 2]]}, "unsupported stages"),
        ({"stages_setup": 7}, "unsupported stages"),
        ({"return_2d_output": False}, "no return_2d_output, which is not supported"),
        ({"agg_gnorm": torch.ones(2)}, "agg_gnorm = "),
        ({"group_divisor": torch.ones(2)}, "group_divisor = "),
        ({"C": 2.5}, "channels"),
        ({"embed_dim": 10**9}, "describes a network of [0-9]+ parameters, but contains"),
        ({"stages_setup": [[[1, 1], 10**9, 1, [], 4]]}, "describes a network of 1000000000 parameters"),
        ({"spec_params": "none"}, "unsupported settings: 'none'"),
        ({"new_setting": 1}, r"unknown settings: \['new_setting'\]"),
        ({"F": "many"}, "num_mels"),
        ({"hop_length": "long"}, "hop_ms"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    config = {**CONFIG, **changes}
    torch.save({"model_config": config, "state_dict": _weights(CONFIG)}, tmp_path / "b.pt")
    with pytest.raises(InputError, match=message):
        sdpn.load_model(tmp_path / "b.pt")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    config, weights = save(tmp_path / "b.pt")
    del weights["backbone.stage1.2.weight"]
    weights["linear.bias"] = torch.zeros(3)
    torch.save({"model_config": config, "state_dict": weights}, tmp_path / "b.pt")
    with pytest.raises(InputError, match=r"missing backbone\.stage1\.2\.weight.*linear\.bias has shape"):
        sdpn.load_model(tmp_path / "b.pt")
