"""All encoders, by kind and by published size.

A new encoder is one file, one line in `ENCODERS` and its sizes in `SIZES`, a ``-tiny`` one for CPUs among
them; tests and ``sdpn models`` cover both.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from sdpn.config import Choice
from sdpn.models.campplus import CamPlusPlus, CamPlusPlusConfig
from sdpn.models.conformer import Conformer, ConformerConfig
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.encoder import Encoder
from sdpn.models.eres2net import ERes2Net, ERes2NetConfig
from sdpn.models.eres2netv2 import ERes2NetV2, ERes2NetV2Config
from sdpn.models.redimnet2 import ReDimNet2, ReDimNet2Config
from sdpn.models.resnet import ResNet, ResNetConfig
from sdpn.models.transformer import Transformer, TransformerConfig
from sdpn.models.xvector import XVector, XVectorConfig

AnyEncoderConfig: TypeAlias = (
    EcapaConfig
    | ResNetConfig
    | CamPlusPlusConfig
    | ERes2NetConfig
    | ERes2NetV2Config
    | XVectorConfig
    | ConformerConfig
    | TransformerConfig
    | ReDimNet2Config
)

#: Kind -> network.
ENCODERS: dict[str, Any] = {
    "ecapa": Ecapa,
    "resnet": ResNet,
    "campplus": CamPlusPlus,
    "eres2net": ERes2Net,
    "eres2netv2": ERes2NetV2,
    "xvector": XVector,
    "conformer": Conformer,
    "transformer": Transformer,
    "redimnet2": ReDimNet2,
}

#: Name -> configuration; the name of a kind refers to its defaults.
SIZES: dict[str, AnyEncoderConfig] = {
    "ecapa": EcapaConfig(),
    "ecapa-tiny": EcapaConfig(channels=96, aggregation_channels=288, embedding_dim=128, bottleneck=32),
    "ecapa-512": EcapaConfig(channels=512, aggregation_channels=1536, res2_scale=8, bottleneck=128),
    "ecapa-1024": EcapaConfig(channels=1024, aggregation_channels=1536, res2_scale=8, bottleneck=128),
    "resnet": ResNetConfig(),
    "resnet-tiny": ResNetConfig(blocks=(1, 1, 1, 1), channels=8, embedding_dim=128),
    "resnet18": ResNetConfig(blocks=(2, 2, 2, 2)),
    "resnet34": ResNetConfig(blocks=(3, 4, 6, 3)),
    "resnet50": ResNetConfig(blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetConfig(blocks=(3, 4, 23, 3), bottleneck=True),
    "campplus": CamPlusPlusConfig(),
    "campplus-tiny": CamPlusPlusConfig(
        head_channels=8, channels=48, growth=12, blocks=(4, 8, 4), embedding_dim=128
    ),
    "eres2net": ERes2NetConfig(),
    "eres2net-tiny": ERes2NetConfig(blocks=(1, 1, 1, 1), channels=8, embedding_dim=128),
    "eres2netv2": ERes2NetV2Config(),
    "eres2netv2-tiny": ERes2NetV2Config(blocks=(1, 1, 1, 1), channels=8, embedding_dim=128),
    "xvector": XVectorConfig(),
    "xvector-tiny": XVectorConfig(channels=96, pooled_channels=288, embedding_dim=128),
    "conformer": ConformerConfig(),
    "conformer-tiny": ConformerConfig(width=48, feed_forward=96, num_blocks=2, embedding_dim=128),
    "transformer": TransformerConfig(),
    "transformer-tiny": TransformerConfig(width=48, feed_forward=96, embedding_dim=128),
    "redimnet2": ReDimNet2Config(),
    "redimnet2-tiny": ReDimNet2Config(
        channels=4,
        band_strides=(1, 2, 2),
        frame_strides=(1, 2, 1),
        blocks=(1, 1, 1),
        expansions=(2, 1, 1),
        context_divisors=(20, 20, 10),
        output_channels=None,
        embedding_dim=128,
    ),
    "redimnet2-b1": ReDimNet2Config(
        channels=16, context_divisors=(32, 32, 32, 32, 16, 16), output_channels=None
    ),
    "redimnet2-b2": ReDimNet2Config(
        channels=20,
        band_strides=(1, 2, 1, 3, 1, 2),
        context_divisors=(40, 30, 30, 20, 20, 10),
        output_channels=None,
    ),
}

#: As a field of a configuration: a section whose ``kind`` is one of the names above.
EncoderChoice: TypeAlias = Annotated[AnyEncoderConfig, Choice("encoder", SIZES)]


def build_encoder(config: AnyEncoderConfig, num_features: int) -> Encoder:
    """Build the network that a configuration describes, for ``num_features`` features in a frame.

    Raises:
        ValueError: the pooling does not fit the encoder's channels.
    """
    encoder: Encoder = ENCODERS[config.kind](config, num_features)
    return encoder
