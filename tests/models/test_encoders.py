"""Every encoder of the registry: padding, lengths, gradients, cost, configuration."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sdpn.config import choose, from_dict, load_config, to_dict
from sdpn.errors import InputError
from sdpn.models.conformer import ConformerConfig
from sdpn.models.cost import cost_of
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.encoder import Encoder
from sdpn.models.heads import ProjectionHead
from sdpn.models.pooling import POOLINGS, PoolingConfig
from sdpn.models.redimnet2 import ReDimNet2Config
from sdpn.models.registry import ENCODERS, SIZES, AnyEncoderConfig, EncoderChoice, build_encoder
from sdpn.models.resnet import ResNetConfig
from sdpn.models.transformer import TransformerConfig
from sdpn.training.config import load_run_config
from tests.conftest import ROOT

#: Small ones of every kind, and what only published sizes use.
VARIANTS: dict[str, AnyEncoderConfig] = {
    **{name: config for name, config in SIZES.items() if name.endswith("-tiny")},
    "ecapa-reflect": EcapaConfig(
        channels=16, aggregation_channels=24, embedding_dim=12, padding="reflect", aggregation_norm=True
    ),
    "ecapa-stride": EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, stride=2),
    "ecapa-spectral": EcapaConfig(
        channels=16, aggregation_channels=24, embedding_dim=12, stride=2, spectral_channels=4
    ),
    "redimnet2-as-b0": ReDimNet2Config(
        channels=4,
        band_strides=(1, 2),
        frame_strides=(2, 2),
        blocks=(1, 1),
        expansions=(2, 1),
        context_divisors=(20, 10),
        output_channels=6,
        map_norm=False,
        embedding_norm=True,
    ),
    "conformer-full-rate": ConformerConfig(
        width=24, heads=2, feed_forward=32, num_blocks=2, kernel=5, subsampling="none", multi_scale=False
    ),
    "conformer-normed": ConformerConfig(
        width=24, heads=2, feed_forward=32, num_blocks=1, kernel=5, input_norm="batch"
    ),
    "transformer-first": TransformerConfig(
        width=24, heads=2, feed_forward=32, num_blocks=2, norm_first=True, positions="sinusoidal"
    ),
    "transformer-normed": TransformerConfig(
        width=24, heads=2, feed_forward=32, num_blocks=1, input_norm="batch"
    ),
    "resnet-bottleneck": ResNetConfig(blocks=(1, 1, 1, 1), bottleneck=True, channels=4, two_layers=True),
}


def _randomised(config: AnyEncoderConfig, num_features: int = 80) -> Encoder:
    """An encoder whose norms do something, as after training: fresh ones would hide leaking padding."""
    torch.manual_seed(0)
    encoder = build_encoder(config, num_features).eval()
    for name, tensor in [*encoder.named_buffers(), *encoder.named_parameters()]:
        if name.endswith("running_var"):
            tensor.data.uniform_(0.5, 1.5)
        elif tensor.dtype.is_floating_point and tensor.ndim == 1:
            tensor.data.normal_(0.2, 0.3)
    return encoder


def _num_parameters(config: AnyEncoderConfig, num_features: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_encoder(config, num_features).parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name if name in SIZES else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_the_graph_can_be_traced(name: str) -> None:
    """TensorBoard draws it from a trace."""
    encoder, features = _randomised(VARIANTS[name]), torch.randn(2, 80, 30)
    torch.testing.assert_close(torch.jit.trace(encoder, features)(features), encoder(features))


def test_every_kind_has_its_defaults_and_a_tiny_size() -> None:
    for kind in ENCODERS:
        assert SIZES[kind].kind == kind and f"{kind}-tiny" in SIZES
        assert _num_parameters(SIZES[f"{kind}-tiny"], 80) < 0.6e6
    assert {config.kind for config in SIZES.values()} == ENCODERS.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_an_utterance_embeds_the_same_alone_and_in_a_padded_batch(name: str) -> None:
    encoder = _randomised(VARIANTS[name])
    lengths = torch.tensor([237, 100, 251, 101, 48])
    features = torch.randn(5, 80, 251) * 3
    with torch.inference_mode():
        together = encoder(features, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder(features[row : row + 1, :, :length])[0]
            assert alone.abs().max() > 0.01
            torch.testing.assert_close(together[row], alone, atol=1e-4, rtol=0)
        # what stands in the padding must not matter, however large
        features[1, :, 100:] = 1e3
        torch.testing.assert_close(encoder(features, lengths), together, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("num_frames", [1, 2, 13])
def test_any_length_gives_an_embedding(name: str, num_frames: int) -> None:
    encoder = _randomised(VARIANTS[name])
    embedding = encoder(torch.randn(2, 80, num_frames))
    assert embedding.shape == (2, encoder.embedding_dim) and torch.isfinite(embedding).all()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("num_features", [40, 60])
def test_other_numbers_of_features(name: str, num_features: int) -> None:
    encoder = _randomised(VARIANTS[name], num_features)
    assert encoder(torch.randn(1, num_features, 30)).shape == (1, encoder.embedding_dim)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(VARIANTS[name], 80).train()
    copy.deepcopy(encoder)  # the teacher is made so
    encoder(torch.randn(4, 80, 60)).square().sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("encoder", ["ecapa-tiny", "resnet-tiny", "conformer-tiny", "transformer-tiny"])
def test_encoders_take_any_pooling(encoder: str, kind: str) -> None:
    config = choose(EncoderChoice, {"kind": encoder, "pooling": {"kind": kind, "context": False}})
    assert _randomised(config)(torch.randn(2, 80, 20)).isfinite().all()


def test_the_keys_of_the_default_encoder() -> None:
    """Checkpoints and model folders hold these; a change would lose them."""
    keys = set(build_encoder(EcapaConfig(), 80).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    units = ["stem"] + [
        f"blocks.{block}.{unit}"
        for block in range(3)
        for unit in ("expand", "merge", *(f"res2.{group}" for group in range(3)))
    ]
    linear = ["aggregation", "embedding", "pooling.frame", "pooling.score"]
    linear += [f"blocks.{block}.squeeze.{layer}" for block in range(3) for layer in (0, 2)]
    expected = {f"{unit}.0.{name}" for unit in units for name in ("weight", "bias")}
    expected |= {f"{unit}.2.{name}" for unit in units for name in norm}
    expected |= {f"{layer}.{name}" for layer in linear for name in ("weight", "bias")}
    expected |= {f"{layer}.{name}" for layer in ("pooling.norm", "pooled_norm") for name in norm}
    assert keys == expected | {"pooling.context.weight"}


@pytest.mark.parametrize(
    ("name", "num_features", "embedding_dim", "millions"),
    # WeSpeaker's VoxCeleb table, 3D-Speaker's README, the papers
    [
        ("ecapa-512", 80, 192, 6.19),
        ("ecapa-1024", 80, 192, 14.65),
        ("resnet18", 80, 256, 4.11),
        ("resnet34", 80, 256, 6.63),
        ("resnet50", 80, 256, 11.13),
        ("resnet101", 80, 256, 15.89),
        ("campplus", 80, 512, 7.18),
        ("eres2net", 80, 192, 6.61),
        ("eres2netv2", 80, 192, 17.86),
    ],
)
def test_published_numbers_of_parameters(
    name: str, num_features: int, embedding_dim: int, millions: float
) -> None:
    config = choose(EncoderChoice, {"kind": name, "embedding_dim": embedding_dim})
    assert _num_parameters(config, num_features) / 1e6 == pytest.approx(millions, abs=0.015)


@pytest.mark.parametrize("file", ["conf/reference.yaml", "egs/voxceleb/conf/ours.yaml"])
def test_the_published_network_of_sdpn(file: str) -> None:
    """22.7 M parameters, and 5.8 M of the head (arXiv 2308.02774, its configuration in 3D-Speaker)."""
    config = load_run_config(ROOT / file)
    assert _num_parameters(config.encoder, config.features.num_mels) / 1e6 == pytest.approx(22.7, abs=0.05)
    head = ProjectionHead(config.head, config.encoder.embedding_dim)
    assert sum(tensor.numel() for tensor in head.parameters()) / 1e6 == pytest.approx(5.8, abs=0.05)


def test_the_cost_of_a_network_counted_by_hand() -> None:
    c, p, d = 96, 288, 128
    per_frame = 80 * c * 5 + c * c * 3 + c * c * 3 + c * c + c * p
    assert cost_of(SIZES["xvector-tiny"]).macs_per_s == pytest.approx(100 * per_frame + 2 * p * d / 10)
    assert cost_of(SIZES["xvector-tiny"]).parameters == _num_parameters(SIZES["xvector-tiny"], 80)


def test_published_multiply_accumulates() -> None:
    """ERes2NetV2's source gives 12.69 G for three seconds, norms and activations included."""
    assert cost_of(SIZES["eres2netv2"]).macs_per_s * 3 == pytest.approx(12.69e9, rel=0.03)


@dataclass(frozen=True, kw_only=True)
class _Run:
    encoder: EncoderChoice = field(default_factory=EcapaConfig)


@pytest.mark.parametrize("name", SIZES)
def test_a_configuration_names_its_encoder_and_survives_writing(name: str) -> None:
    run = load_config(_Run, None, [f"encoder.kind={name}"])
    assert run.encoder == SIZES[name]
    written = to_dict(run)
    assert written["encoder"]["kind"] == SIZES[name].kind
    assert from_dict(_Run, written) == run


def test_settings_change_what_the_name_stands_for() -> None:
    run = load_config(
        _Run, None, ["encoder.channels=8", "encoder.kind=resnet18", "encoder.pooling.floor=1e-6"]
    )
    assert run.encoder == ResNetConfig(blocks=(2, 2, 2, 2), channels=8, pooling=PoolingConfig(floor=1e-6))


def test_a_section_without_kind_is_the_default_and_keeps_the_rest_of_its_pooling() -> None:
    run = load_config(_Run, None, ["encoder.channels=8", "encoder.pooling.floor=1e-5"])
    assert isinstance(run.encoder, EcapaConfig) and run.encoder.channels == 8
    assert run.encoder.pooling.context and run.encoder.pooling.kind == "attentive-statistics"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("encoder.kind=resnet35", "unknown encoder 'resnet35'; did you mean 'resnet"),
        ("encoder.kind=[1]", "unknown encoder"),
        ("encoder.growth=3", "unknown key 'encoder.growth'"),
        ("encoder=ecapa", "is a section"),
        ("encoder.pooling.kind=median", "expected one of"),
        ("encoder.pooling.floor=0", "floor must be positive"),
    ],
)
def test_bad_settings_of_an_encoder(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        load_config(_Run, None, [override])


def test_a_fixed_section_accepts_its_own_kind_only() -> None:
    assert from_dict(EcapaConfig, {"kind": "ecapa", "channels": 8}).channels == 8
    with pytest.raises(InputError, match="only be 'ecapa'"):
        from_dict(EcapaConfig, {"kind": "resnet"})


def test_the_segments_of_campplus_are_averaged_as_published() -> None:
    """Each frame's near context is the mean of its segment of 100 frames (arXiv 2303.00332, equation 4)."""
    from sdpn.models.campplus import CamPlusPlusConfig, DenseLayer

    layer = DenseLayer(CamPlusPlusConfig(), 128, 2).eval()
    hidden = torch.randn(2, 128, 230)
    near: Tensor = layer._near(hidden, None)
    for segment, (start, end) in enumerate([(0, 100), (100, 200), (200, 230)]):
        torch.testing.assert_close(near[..., segment], hidden[..., start:end].mean(-1), atol=1e-5, rtol=1e-4)


def test_relative_scores_depend_on_the_distance_alone() -> None:
    from sdpn.models.conformer import _by_distance

    scores = torch.arange(4.0, -5.0, -1.0).expand(1, 1, 5, 9)  # the score of each distance is the distance
    expected = torch.arange(5.0)[:, None] - torch.arange(5.0)
    torch.testing.assert_close(_by_distance(scores)[0, 0], expected)
