"""Published networks: their weight names, and the settings that differ from our defaults.

The same names occur in several toolkits with different features, so that the readers of the toolkits, not
this module, determine the features. ``tests/interop`` compares names and shapes with complete lists.
"""

from __future__ import annotations

from torch import Tensor

from sdpn.interop.layout import Layout, Shapes
from sdpn.models.campplus import CamPlusPlusConfig
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.eres2net import ERes2NetConfig
from sdpn.models.eres2netv2 import ERes2NetV2Config
from sdpn.models.pooling import PoolingConfig
from sdpn.models.registry import AnyEncoderConfig
from sdpn.models.resnet import ResNetConfig

#: Statistics as the toolkits compute them: unbiased, with a floor below the root.
_STATISTICS = PoolingConfig(kind="statistics", unbiased=True, floor=1e-8)
#: CAM++ of 3D-Speaker has no floor; this one is negligible and keeps gradients finite.
_BARE_STATISTICS = PoolingConfig(kind="statistics", unbiased=True, floor=1e-12)

_FOUR_STAGES = (
    ("stem.", "conv1."),
    ("stem_norm.", "bn1."),
    ("embedding.linear1.", "seg_1."),
    ("embedding.norm.", "seg_bn_1."),
    ("embedding.linear2.", "seg_2."),
    ("pooling.frame.", "pool.linear1."),
    ("pooling.context.", "pool.linear1."),
    ("pooling.score.", "pool.linear2."),
    ("stages.{i}.{j}.shortcut.", "layer{i1}.{j}.shortcut."),
)


def _speechbrain_ecapa_config(shapes: Shapes) -> EcapaConfig:
    channels = shapes.size(
        ("blocks.0.conv.conv.weight", 0),
        ("blocks.0.norm.norm.weight", 0),
        ("blocks.1.tdnn1.conv.conv.weight", 0),
        ("blocks.1.tdnn2.conv.conv.weight", 0),
        default=1024,
    )
    wide = shapes.size(
        ("mfa.conv.conv.weight", 0),
        ("mfa.norm.norm.weight", 0),
        ("asp.conv.conv.weight", 0),
        default=3072,
    )
    attention_inputs = shapes.size(("asp.tdnn.conv.conv.weight", 1), default=3 * wide)
    bottleneck = shapes.size(
        ("blocks.1.se_block.conv1.conv.weight", 0),
        ("blocks.2.se_block.conv1.conv.weight", 0),
        ("blocks.1.se_block.conv1.conv.bias", 0),
        default=128,
    )
    attention = shapes.size(
        ("asp.tdnn.conv.conv.weight", 0),
        ("asp.tdnn.norm.norm.weight", 0),
        ("asp.conv.conv.weight", 1),
        default=128,
    )
    return EcapaConfig(
        channels=channels,
        aggregation_channels=wide,
        embedding_dim=shapes.size(("fc.conv.weight", 0), ("fc.conv.bias", 0), default=192),
        res2_scale=1 + (shapes.count("blocks.1.res2net_block.blocks.{}.") or 7),
        bottleneck=bottleneck,
        dilations=_dilations(shapes.count("blocks.{}.res2net_block.")),
        padding="reflect",
        aggregation_norm=True,
        pooling=PoolingConfig(
            kind="attentive-statistics",
            hidden="relu-norm-tanh",
            context=attention_inputs != wide,
            bottleneck=attention,
            unbiased=False,
            floor=1e-12,
        ),
    )


#: ECAPA-TDNN as SpeechBrain names it, and 3D-Speaker after it.
SPEECHBRAIN_ECAPA = Layout(
    network="ECAPA-TDNN",
    signs=("blocks.1.res2net_block.", "blocks.1.se_block."),
    rules=(
        ("stem.0.", "blocks.0.conv.conv."),
        ("stem.2.", "blocks.0.norm.norm."),
        ("blocks.{i}.expand.0.", "blocks.{i1}.tdnn1.conv.conv."),
        ("blocks.{i}.expand.2.", "blocks.{i1}.tdnn1.norm.norm."),
        ("blocks.{i}.res2.{j}.0.", "blocks.{i1}.res2net_block.blocks.{j}.conv.conv."),
        ("blocks.{i}.res2.{j}.2.", "blocks.{i1}.res2net_block.blocks.{j}.norm.norm."),
        ("blocks.{i}.merge.0.", "blocks.{i1}.tdnn2.conv.conv."),
        ("blocks.{i}.merge.2.", "blocks.{i1}.tdnn2.norm.norm."),
        ("blocks.{i}.squeeze.0.", "blocks.{i1}.se_block.conv1.conv."),
        ("blocks.{i}.squeeze.2.", "blocks.{i1}.se_block.conv2.conv."),
        ("aggregation.", "mfa.conv.conv."),
        ("aggregation_norm.", "mfa.norm.norm."),
        ("pooling.frame.", "asp.tdnn.conv.conv."),
        ("pooling.context.", "asp.tdnn.conv.conv."),
        ("pooling.norm.", "asp.tdnn.norm.norm."),
        ("pooling.score.", "asp.conv.conv."),
        ("pooled_norm.", "asp_bn.norm."),
        ("embedding.", "fc.conv."),
    ),
    configure=_speechbrain_ecapa_config,
    num_features=lambda shapes: shapes.size(("blocks.0.conv.conv.weight", 1), default=80),
)


def _wespeaker_ecapa_config(shapes: Shapes) -> EcapaConfig:
    channels = shapes.size(
        ("layer1.conv.weight", 0),
        ("layer1.bn.weight", 0),
        ("layer2.se_res2block.0.conv.weight", 0),
        ("layer2.se_res2block.2.conv.weight", 0),
        default=1024,
    )
    wide = shapes.size(
        ("conv.weight", 0),
        ("conv.bias", 0),
        ("pool.linear2.weight", 0),
        ("pool.linear2.bias", 0),
        default=1536,
    )
    attention_inputs = shapes.size(("pool.linear1.weight", 1), default=3 * wide)
    bottleneck = shapes.size(
        ("layer2.se_res2block.3.linear1.weight", 0),
        ("layer3.se_res2block.3.linear1.weight", 0),
        ("layer4.se_res2block.3.linear1.weight", 0),
        default=128,
    )
    attention = shapes.size(
        ("pool.linear1.weight", 0), ("pool.linear1.bias", 0), ("pool.linear2.weight", 1), default=128
    )
    return EcapaConfig(
        channels=channels,
        aggregation_channels=wide,
        embedding_dim=shapes.size(("linear.weight", 0), ("linear.bias", 0), default=192),
        res2_scale=1 + (shapes.count("layer2.se_res2block.1.convs.{}.") or 7),
        bottleneck=bottleneck,
        dilations=_dilations(shapes.count("layer{}.se_res2block.")),
        pooling=PoolingConfig(
            kind="attentive-statistics",
            hidden="tanh",
            context=attention_inputs != wide,
            bottleneck=attention,
            unbiased=True,
            floor=1e-7,
        ),
    )


def _first_group_last(weights: dict[str, Tensor], config: AnyEncoderConfig) -> None:
    """Reorder the Res2 groups: WeSpeaker passes the last one through unchanged, sdpn the first.

    Groups are channels of the layers before and after the Res2 convolution, whose weights are permuted.
    """
    assert isinstance(config, EcapaConfig)
    width = config.channels // config.res2_scale
    for key in weights:
        if ".expand." in key and weights[key].ndim:
            weights[key] = weights[key].roll(width, 0)
        elif key.endswith(".merge.0.weight"):
            weights[key] = weights[key].roll(width, 1)


WESPEAKER_ECAPA = Layout(
    network="ECAPA-TDNN",
    signs=("layer2.se_res2block.",),
    rules=(
        ("stem.0.", "layer1.conv."),
        ("stem.2.", "layer1.bn."),
        ("blocks.{i}.expand.0.", "layer{i2}.se_res2block.0.conv."),
        ("blocks.{i}.expand.2.", "layer{i2}.se_res2block.0.bn."),
        ("blocks.{i}.res2.{j}.0.", "layer{i2}.se_res2block.1.convs.{j}."),
        ("blocks.{i}.res2.{j}.2.", "layer{i2}.se_res2block.1.bns.{j}."),
        ("blocks.{i}.merge.0.", "layer{i2}.se_res2block.2.conv."),
        ("blocks.{i}.merge.2.", "layer{i2}.se_res2block.2.bn."),
        ("blocks.{i}.squeeze.0.", "layer{i2}.se_res2block.3.linear1."),
        ("blocks.{i}.squeeze.2.", "layer{i2}.se_res2block.3.linear2."),
        ("aggregation.", "conv."),
        ("pooling.frame.", "pool.linear1."),
        ("pooling.context.", "pool.linear1."),
        ("pooling.score.", "pool.linear2."),
        ("pooled_norm.", "bn."),
        ("embedding.", "linear."),
    ),
    configure=_wespeaker_ecapa_config,
    num_features=lambda shapes: shapes.size(("layer1.conv.weight", 1), default=80),
    finish=_first_group_last,
)


def _resnet_config(shapes: Shapes) -> ResNetConfig:
    return ResNetConfig(
        blocks=_blocks(shapes),
        bottleneck=shapes.has("layer1.0.conv3."),
        channels=_stem_channels(shapes, 32),
        embedding_dim=_segment_dim(shapes, 256),
        two_layers=shapes.has("seg_2."),
        pooling=_segment_pooling(shapes, _STATISTICS),
    )


RESNET = Layout(
    network="ResNet",
    signs=("layer4.0.conv1.", "layer4.0.conv2.", "seg_1."),
    rules=(
        *_FOUR_STAGES,
        ("stages.{i}.{j}.conv{k}.", "layer{i1}.{j}.conv{k}."),
        ("stages.{i}.{j}.norm{k}.", "layer{i1}.{j}.bn{k}."),
    ),
    configure=_resnet_config,
    num_features=lambda shapes: _segment_features(shapes, 4 if shapes.has("layer1.0.conv3.") else 1),
)

_ERES2_BLOCKS = (
    *_FOUR_STAGES,
    ("stages.{i}.{j}.expand.", "layer{i1}.{j}.conv1."),
    ("stages.{i}.{j}.expand_norm.", "layer{i1}.{j}.bn1."),
    ("stages.{i}.{j}.convs.", "layer{i1}.{j}.convs."),
    ("stages.{i}.{j}.norms.", "layer{i1}.{j}.bns."),
    ("stages.{i}.{j}.fusions.{k}.attention.", "layer{i1}.{j}.fuse_models.{k}.local_att."),
    ("stages.{i}.{j}.merge.", "layer{i1}.{j}.conv3."),
    ("stages.{i}.{j}.merge_norm.", "layer{i1}.{j}.bn3."),
)


def _eres2net_config(shapes: Shapes) -> ERes2NetConfig:
    channels = _stem_channels(shapes, 32)
    return ERes2NetConfig(
        blocks=_blocks(shapes),
        channels=channels,
        base_width=_base_width(shapes, channels, 32),
        scale=shapes.count("layer1.0.convs.{}.") or 2,
        expansion=_expansion(shapes, channels),
        embedding_dim=_segment_dim(shapes, 512),
        two_layers=shapes.has("seg_2."),
        pooling=_STATISTICS,
    )


ERES2NET = Layout(
    network="ERes2Net",
    signs=("fuse_mode12.", "layer1_downsample."),
    rules=(
        *_ERES2_BLOCKS,
        ("downsamples.{i}.", "layer{i1}_downsample."),
        ("fusions.0.attention.", "fuse_mode12.local_att."),
        ("fusions.1.attention.", "fuse_mode123.local_att."),
        ("fusions.2.attention.", "fuse_mode1234.local_att."),
    ),
    configure=_eres2net_config,
    num_features=lambda shapes: _segment_features(shapes, _expansion(shapes, _stem_channels(shapes, 32))),
)


def _eres2netv2_config(shapes: Shapes) -> ERes2NetV2Config:
    channels = _stem_channels(shapes, 64)
    return ERes2NetV2Config(
        blocks=_blocks(shapes),
        channels=channels,
        base_width=_base_width(shapes, channels, 26),
        scale=shapes.count("layer1.0.convs.{}.") or 2,
        expansion=_expansion(shapes, channels),
        embedding_dim=_segment_dim(shapes, 192),
        two_layers=shapes.has("seg_2."),
        pooling=_STATISTICS,
    )


ERES2NETV2 = Layout(
    network="ERes2NetV2",
    signs=("fuse34.", "layer4.0.convs."),
    rules=(*_ERES2_BLOCKS, ("downsample.", "layer3_ds."), ("fusion.attention.", "fuse34.local_att.")),
    configure=_eres2netv2_config,
    num_features=lambda shapes: _segment_features(shapes, _expansion(shapes, _stem_channels(shapes, 64))),
)


def _campplus_config(shapes: Shapes) -> CamPlusPlusConfig:
    blocks = tuple(shapes.count(f"xvector.block{i}.tdnnd{{}}.") for i in (1, 2, 3))
    layer = "xvector.block{}.tdnnd1.cam_layer."
    channels = shapes.size(
        ("xvector.tdnn.linear.weight", 0),
        ("xvector.tdnn.nonlinear.batchnorm.weight", 0),
        ("xvector.block1.tdnnd1.nonlinear1.batchnorm.weight", 0),
        default=128,
    )
    hidden = shapes.size(*((f"{layer.format(i)}linear1.weight", 0) for i in (1, 2, 3)), default=64)
    return CamPlusPlusConfig(
        head_channels=_head_channels(shapes),
        channels=channels,
        growth=shapes.size(*((f"{layer.format(i)}linear_local.weight", 0) for i in (1, 2, 3)), default=32),
        blocks=blocks,
        dilations=(1, 2, 2),
        reduction=max(1, channels // hidden),
        embedding_dim=shapes.size(
            ("xvector.dense.linear.weight", 0),
            ("xvector.dense.nonlinear.batchnorm.running_mean", 0),
            default=512,
        ),
        pooling=_BARE_STATISTICS,
    )


CAMPPLUS = Layout(
    network="CAM++",
    signs=("xvector.block1.tdnnd1.", "xvector.dense.", "head.layer1."),
    rules=(
        ("head.stem.", "head.conv1."),
        ("head.stem_norm.", "head.bn1."),
        ("head.stages.{i}.{j}.norm{k}.", "head.layer{i1}.{j}.bn{k}."),
        ("head.stages.{i}.{j}.", "head.layer{i1}.{j}."),
        ("head.last.", "head.conv2."),
        ("head.last_norm.", "head.bn2."),
        ("stem.", "xvector.tdnn.linear."),
        ("stem_norm.", "xvector.tdnn.nonlinear.batchnorm."),
        ("blocks.{i}.{j}.bottleneck.0.", "xvector.block{i1}.tdnnd{j1}.nonlinear1.batchnorm."),
        ("blocks.{i}.{j}.bottleneck.2.", "xvector.block{i1}.tdnnd{j1}.linear1."),
        ("blocks.{i}.{j}.bottleneck.3.", "xvector.block{i1}.tdnnd{j1}.nonlinear2.batchnorm."),
        ("blocks.{i}.{j}.local.", "xvector.block{i1}.tdnnd{j1}.cam_layer.linear_local."),
        ("blocks.{i}.{j}.mask.0.", "xvector.block{i1}.tdnnd{j1}.cam_layer.linear1."),
        ("blocks.{i}.{j}.mask.2.", "xvector.block{i1}.tdnnd{j1}.cam_layer.linear2."),
        ("transitions.{i}.0.", "xvector.transit{i1}.nonlinear.batchnorm."),
        ("transitions.{i}.2.", "xvector.transit{i1}.linear."),
        ("norm.", "xvector.out_nonlinear.batchnorm."),
        ("embedding.", "xvector.dense.linear."),
        ("embedding_norm.", "xvector.dense.nonlinear.batchnorm."),
    ),
    configure=_campplus_config,
    num_features=lambda shapes: (
        shapes.size(("xvector.tdnn.linear.weight", 1), default=320) * 8 // _head_channels(shapes)
    ),
)


def _dilations(num_blocks: int) -> tuple[int, ...]:
    """2, 3, 4, as in every published ECAPA-TDNN; they cannot be inferred from the weights."""
    return tuple(range(2, 2 + (num_blocks or 3)))


def _blocks(shapes: Shapes) -> tuple[int, int, int, int]:
    one, two, three, four = (shapes.count(f"layer{index}.{{}}.") or 1 for index in (1, 2, 3, 4))
    return one, two, three, four


def _stem_channels(shapes: Shapes, default: int) -> int:
    return shapes.size(("conv1.weight", 0), ("bn1.weight", 0), ("bn1.bias", 0), default=default)


def _head_channels(shapes: Shapes) -> int:
    return shapes.size(("head.conv1.weight", 0), ("head.bn1.weight", 0), ("head.conv2.weight", 0), default=32)


def _expansion(shapes: Shapes, channels: int) -> int:
    width = shapes.size(
        ("layer1.0.conv3.weight", 0),
        ("layer1.0.bn3.weight", 0),
        ("layer1.1.bn3.weight", 0),
        default=2 * channels,
    )
    return max(1, width // channels)


def _base_width(shapes: Shapes, channels: int, default: int) -> int:
    """Width of a Res2 group for 64 channels, from the last stage, where rounding has the least effect."""
    last = 8 * channels
    width = shapes.size(
        ("layer4.0.convs.0.weight", 0),
        ("layer4.0.bns.0.weight", 0),
        ("layer4.0.bns.1.weight", 0),
        default=last * default // 64,
    )
    return max(1, -(-width * 64 // last))


def _segment_dim(shapes: Shapes, default: int) -> int:
    return shapes.size(("seg_1.weight", 0), ("seg_1.bias", 0), default=default)


def _segment_pooling(shapes: Shapes, statistics: PoolingConfig) -> PoolingConfig:
    """Statistics pooling, unless there are attention weights."""
    if not shapes.has("pool.linear1."):
        return statistics
    wide = shapes.size(("pool.linear2.weight", 0), ("pool.linear2.bias", 0), default=0)
    return PoolingConfig(
        kind="attentive-statistics",
        hidden="tanh",
        context=shapes.size(("pool.linear1.weight", 1), default=wide) != wide,
        bottleneck=shapes.size(("pool.linear1.weight", 0), ("pool.linear1.bias", 0), default=128),
        floor=1e-7,
    )


def _segment_features(shapes: Shapes, expansion: int) -> int:
    """Number of features per frame, inferred from the pooled dimension: twice an eighth of it."""
    width = 8 * expansion * _stem_channels(shapes, 32)
    return max(1, shapes.size(("seg_1.weight", 1), default=20 * width) // (2 * width)) * 8
