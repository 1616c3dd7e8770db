"""Files of ReDimNet2: ``state_dict`` and ``model_config``, which contains the whole configuration.

Source: github.com/PalabraAI/redimnet2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdpn.config import from_dict
from sdpn.errors import InputError
from sdpn.features.redimnet_mel import ReDimNetMelConfig
from sdpn.interop.layout import Layout
from sdpn.interop.source import ModelSource
from sdpn.io.audio import RATE_HZ
from sdpn.models.folder import ModelFolder
from sdpn.models.redimnet2 import ReDimNet2, ReDimNet2Config

#: Buffers of the features, which are recomputed.
_FEATURES = "spec."
#: Settings with a single supported value.
_FIXED: dict[str, Any] = {
    "causal": "none",
    "spec_in_channels": 1,
    "block_1d_type": "conv+att",
    "block_2d_type": "basic_resnet",
    "compress_tconvs": True,
    "use_freq_pos_enc": False,
    "fm_weigthing_type": "NC",
    "group_divisor": 1,
    "dual_agg": False,
    "pooling_func": "ASTP",
    "global_context_att": True,
    "feat_agg_dropout": 0.0,
    "head_activation": None,
    "pad_right_samples": None,
    "before_pool_offset": None,
    "return_all_outputs": False,
}
#: Defaults of the published constructor for settings that are not fixed above.
_DEFAULTS: dict[str, Any] = {
    "F": 72,
    "C": 24,
    "out_channels": None,
    "return_2d_output": False,
    "agg_gnorm": False,
    "att_dos": None,
    "stages_setup": [
        [[1, 1], 2, 4, [[3, 3]], 24],
        [[2, 1], 3, 3, [[3, 3]], 24],
        [[1, 2], 4, 2, [[3, 3]], 24],
        [[2, 1], 5, 1, [[3, 3]], 24],
        [[1, 2], 4, 1, [[3, 3]], 24],
        [[2, 1], 3, 1, [[3, 3]], 24],
    ],
    "embed_dim": 192,
    "num_classes": None,
    "hop_length": 160,
    "feat_type": "pt",
    "emb_bn": False,
    "spec_params": {},
}
#: Settings of the features: those without effect after training, those that are read, with their defaults,
#: and those with a single supported value.
_SPEC_FREE = {"do_spec_aug", "freq_start_bin", "freq_mask_width", "time_mask_width", "num_apply_spec_aug"}
_SPEC_SWITCHES = {"norm_signal": False, "do_preemph": True}
_SPEC_FIXED = {"sample_rate": 16000, "n_fft": 512, "win_length": 400, "f_min": 20, "f_max": 7600, "eps": 1e-8}


def fits_folder(source: ModelSource) -> bool:  # noqa: ARG001 - a folder never is
    """Whether a folder is of this format: never."""
    return False


def fits_file(source: ModelSource) -> bool:
    """Whether a file is of ReDimNet2."""
    return source.holds("model_config", "state_dict")


def read(source: ModelSource) -> ModelFolder:
    """Read a file.

    Raises:
        InputError: it cannot be read, describes an unsupported network, or its weights do not match its
            configuration.
    """
    contents = source.contents
    described, weights = contents.get("model_config"), contents.get("state_dict")
    if not isinstance(described, dict) or not isinstance(weights, dict):
        raise InputError(
            "is not a ReDimNet2 file: it has no 'model_config' and 'state_dict'", path=source.path
        )
    settings = _settings(described, source.path)
    config = _encoder_of(settings, source.path)
    features = _features_of(settings, source.path)
    tensors = source.tensors(weights)
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith(_FEATURES)}
    # the first stage mixes a single map: the softmax weights are ones
    kept.pop("backbone.stage0.0.w", None)
    _check_size(config, features.num_mels, kept, source.path)
    encoder = _layout(config, features.num_mels).build(kept, config, features.num_mels, source.path)
    return ModelFolder(
        encoder,
        config,
        features,
        source={"format": "redimnet", "network": "ReDimNet2", "file": source.path.name},
    )


def _settings(described: dict[str, Any], path: Path) -> dict[str, Any]:
    """The whole configuration; unsupported settings are rejected by name."""
    defaults = {**_FIXED, **_DEFAULTS}
    unknown = sorted(map(str, described.keys() - defaults.keys()))
    if unknown:
        raise InputError(f"its model_config has unknown settings: {unknown}", path=path)
    settings = {**defaults, **described}
    if settings["causal"] is False:  # older spelling of None
        settings["causal"] = "none"
    for name, wanted in _FIXED.items():
        if not _is(settings[name], wanted):
            raise InputError(
                f"its model_config has {name} = {settings[name]!r}; only {wanted!r} is supported", path=path
            )
    return settings


def _is(found: Any, wanted: Any) -> bool:
    """Whether an untrusted value equals a plain one."""
    return isinstance(found, str | int | float | None) and found == wanted


def _encoder_of(settings: dict[str, Any], path: Path) -> ReDimNet2Config:
    if not _is(settings["return_2d_output"], True):
        raise InputError("its model_config has no return_2d_output, which is not supported", path=path)
    groups = settings["agg_gnorm"]
    if not any(_is(groups, known) for known in (True, False, None, settings["C"])):
        raise InputError(f"its model_config has agg_gnorm = {groups!r}, which is not supported", path=path)
    try:
        strides, blocks, expansions, _kernels, divisors = zip(*settings["stages_setup"], strict=True)
        bands, frames = zip(*strides, strict=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"its model_config has unsupported stages: {error}", path=path) from None
    described = {
        "channels": settings["C"],
        "band_strides": list(bands),
        "frame_strides": list(frames),
        "blocks": list(blocks),
        "expansions": list(expansions),
        "context_divisors": list(divisors),
        "map_norm": bool(groups),
        "output_channels": settings["out_channels"],
        "embedding_dim": settings["embed_dim"],
        "embedding_norm": settings["emb_bn"],
    }
    return from_dict(ReDimNet2Config, described, path=path)


def _features_of(settings: dict[str, Any], path: Path) -> ReDimNetMelConfig:
    if not any(_is(settings["feat_type"], kind) for kind in ("tf", "tf_mel")):
        raise InputError(
            f"its features are of type {settings['feat_type']!r}; only 'tf' is supported", path=path
        )
    spec = settings["spec_params"] or {}
    if not isinstance(spec, dict):
        raise InputError(f"its features have unsupported settings: {spec!r}", path=path)
    for name, value in spec.items():
        if name in _SPEC_FREE or name in _SPEC_SWITCHES:
            continue
        if name not in _SPEC_FIXED or not _is(value, _SPEC_FIXED[name]):
            raise InputError(f"its features have {name} = {value!r}, which cannot be read", path=path)
    signal, emphasised = (spec.get(name, default) for name, default in _SPEC_SWITCHES.items())
    hop = settings["hop_length"]
    described = {
        "num_mels": settings["F"],
        "hop_ms": hop * 1000 / RATE_HZ if isinstance(hop, int) else hop,
        "unit_variance": signal,
        "preemphasis": 0.97 if emphasised else 0.0,
    }
    return from_dict(ReDimNetMelConfig, described, path=path)


def _check_size(config: ReDimNet2Config, num_mels: int, weights: dict[str, Tensor], path: Path) -> None:
    """Compare the described size with the weights before allocating memory.

    Raises:
        InputError: the described network is far larger.
    """
    held = sum(tensor.numel() for tensor in weights.values())
    needed = sum(config.blocks)
    if needed <= len(weights):
        with torch.device("meta"):
            described = ReDimNet2(config, num_mels)
        needed = sum(tensor.numel() for tensor in described.state_dict().values())
    if needed > 4 * held:
        raise InputError(f"describes a network of {needed} parameters, but contains {held}", path=path)


def _layout(config: ReDimNet2Config, num_mels: int) -> Layout:
    """The weight names: a stage is a list of layers, whose indices depend on its number of blocks."""
    rules = [
        ("stem.", "backbone.stem.0."),
        ("stem_norm.", "backbone.stem.1."),
        ("map_norms.0.", "backbone.stem_gnorm."),
        ("output.", "backbone.head."),
        ("pooling.frame.", "pool.linear1."),
        ("pooling.context.", "pool.linear1."),
        ("pooling.score.", "pool.linear2."),
        ("pooled_norm.", "bn."),
        ("embedding.", "linear."),
        ("embedding_norm.", "bn2."),
    ]
    last = len(config.blocks) - 1
    for index, (blocks, expansion) in enumerate(zip(config.blocks, config.expansions, strict=True)):
        ours, theirs = f"stages.{index}.", f"backbone.stage{index}."
        # layers: 0 mixes, 1 folds, 2 reduces, then the blocks, maybe a projection, 1 unfolds, the context
        after = 3 + blocks
        context = after + (2 if expansion > 1 else 1)
        inner = f"{theirs}{context}."
        rules += [
            (f"{ours}reduce.", f"{theirs}2."),
            (f"{ours}project.", f"{theirs}{after}."),
            (f"{ours}context.reduce.", f"{inner}red_dim_conv.0."),
            (f"{ours}context.reduced_norm.", f"{inner}red_dim_conv.1."),
            (f"{ours}context.expand.", f"{inner}exp_dim_conv."),
            # after the context block, the map is upsampled to the full rate
            (f"map_norms.{index + 1}.", f"{theirs}{context + 2}."),
        ]
        for block in range(blocks):
            rules += [
                (f"{ours}blocks.{block}.{own}{number}.", f"{theirs}{3 + block}.conv_block.{their}.")
                for number in (1, 2)
                for own, their in (
                    ("depth", f"conv{number}"),
                    ("point", f"conv{number}pw"),
                    ("norm", f"bn{number}"),
                )
            ]
        for number in range(4):
            rules += [
                (f"{ours}context.convolutions.{number}.{own}.", f"{inner}tcm.{number}.{their}.")
                for own, their in (("depth", "dwconvs.0"), ("norm", "norm"), ("point", "pwconv1"))
            ]
        rules += [
            (f"{ours}context.attention.{own}.", f"{inner}tcm.4.{their}.")
            for own, their in (
                ("query", "attention.q_proj"),
                ("key", "attention.k_proj"),
                ("value", "attention.v_proj"),
                ("output", "attention.out_proj"),
                ("norm", "layer_norm"),
                ("feed1", "feed_forward.intermediate_dense"),
                ("feed2", "feed_forward.output_dense"),
                ("final_norm", "final_layer_norm"),
            )
        ]
        mix = "backbone.fin_wght1d.w" if index == last else f"backbone.stage{index + 1}.0.w"
        rules.append((f"mixes.{index}.weights", mix))
    return Layout(
        "ReDimNet2", ("backbone.stem.",), tuple(rules), lambda _shapes: config, lambda _shapes: num_mels
    )
