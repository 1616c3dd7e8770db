"""One loader: formats found, asked for or refused; faults named; nothing executed."""

from __future__ import annotations

import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import sdpn
from sdpn.cli.main import main
from sdpn.cli.model_arguments import FORMATS as OFFERED
from sdpn.errors import InputError
from sdpn.features.kaldi_fbank import KaldiFbankConfig
from sdpn.features.log_mel import FeatureConfig
from sdpn.features.speechbrain_fbank import SpeechBrainFbankConfig
from sdpn.interop.read import read_any
from sdpn.interop.registry import FORMATS
from sdpn.models.resnet import ResNetConfig
from tests.interop.published_weights import ecapa, resnet

HYPERPARAMS = """\
# a comment
n_mels: 80
sample_rate: 16000
trouble: !apply:os.system ['touch %s']
mean_var_norm_emb: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
    std_norm: False
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
    sample_rate: !ref <sample_rate>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [8, 8, 8, 8, 12]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 5
    lin_neurons: 6
modules: {compute_features: !ref <compute_features>, embedding_model: !ref <embedding_model>}
"""


def _wave(seconds: float = 2.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(int(seconds * 16000)) * 0.1).astype(np.float32)


def _saved(path: Path, contents: Any) -> Path:
    torch.save(contents, path)
    return path


def _wespeaker(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    projection = {"projection.weight": torch.zeros(9, 6)}
    _saved(folder / "avg_model.pt", resnet() | projection)
    config = {
        "model": "ResNet34",
        "model_args": {"feat_dim": 80, "embed_dim": 6, "pooling_func": "TSTP"},
        "dataset_args": {
            "fbank_args": {"num_mel_bins": 80, "frame_shift": 10, "frame_length": 25, "dither": 1.0}
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))
    return folder


def _speechbrain(folder: Path, old: str = "", new: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    _saved(folder / "embedding_model.ckpt", ecapa())
    text = HYPERPARAMS % (folder / "executed")
    assert old in text
    (folder / "hyperparams.yaml").write_text(text.replace(old, new, 1) if old else text)
    return folder


def test_the_command_line_offers_the_formats_there_are() -> None:
    assert set(OFFERED) == FORMATS.keys()


def test_a_file_of_3d_speaker(tmp_path: Path) -> None:
    model = read_any(_saved(tmp_path / "m.ckpt", resnet(two_layers=True)), "3dspeaker")
    assert model.encoder_config == ResNetConfig(
        blocks=(1, 1, 1, 1), channels=4, embedding_dim=6, two_layers=True
    )
    assert model.features == KaldiFbankConfig()


@pytest.mark.parametrize("branches", [("teacher", "student"), ("student",)])
def test_a_training_state_needs_no_format(tmp_path: Path, branches: tuple[str, ...]) -> None:
    states: dict[str, Any] = {}
    for scale, branch in enumerate(branches, start=1):
        backbone = {f"module.backbone.{key}": value * scale for key, value in ecapa().items()}
        states[branch] = backbone | {"module.head.mlp.0.weight": torch.zeros(3, 6)}
    model = read_any(_saved(tmp_path / "sdpn.pth", states | {"epoch": 7}))
    assert model.source["branch"] == branches[0]
    assert isinstance(model.features, FeatureConfig) and model.features.centred
    torch.testing.assert_close(model.encoder.state_dict()["embedding.bias"], ecapa()["fc.conv.bias"])


def test_a_folder_of_wespeaker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = read_any(_wespeaker(tmp_path / "model"))
    assert "ignoring the training classifier: projection.weight" in caplog.text
    assert model.features == KaldiFbankConfig(window="hamming", scale=32768.0)
    assert read_any(tmp_path / "model" / "avg_model.pt").source == model.source


def test_the_configuration_of_wespeaker(tmp_path: Path) -> None:
    """Mean pooling has no weights, so only the configuration identifies it; shapes do not give the frames."""
    folder = _wespeaker(
        tmp_path / "model",
        model_args={"pooling_func": "TAP"},
        dataset_args={
            "fbank_args": {"num_mel_bins": 80, "frame_length": 20},
            "cmvn_args": {"norm_var": True},
        },
    )
    state = resnet()
    state["seg_1.weight"] = torch.randn(6, 320)
    _saved(folder / "avg_model.pt", state)
    model = read_any(folder)
    assert model.encoder_config.pooling.kind == "mean"
    assert model.features.window_ms == 20.0 and model.features.normalisation == "mean-variance"


def test_a_folder_of_speechbrain_is_read_and_not_run(tmp_path: Path) -> None:
    model = read_any(_speechbrain(tmp_path / "model", "[1, 2, 3, 4, 1]", "[1, 3, 4, 5, 1]"))
    assert model.features == SpeechBrainFbankConfig()
    assert getattr(model.encoder_config, "dilations", None) == (3, 4, 5)
    assert not (tmp_path / "model" / "executed").exists()


def test_the_same_weights_with_other_features(tmp_path: Path) -> None:
    path = _saved(tmp_path / "ecapa.ckpt", ecapa())
    one, other = (
        sdpn.load_model(path, format=name).embed(_wave(), 16000) for name in ("3dspeaker", "speechbrain")
    )
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize(
    ("state", "candidates"),
    [(ecapa(), ("3dspeaker", "speechbrain")), (resnet(), ("3dspeaker", "wespeaker"))],
    ids=["ecapa", "resnet"],
)
def test_a_bare_file_that_could_be_of_two_formats(
    tmp_path: Path, state: dict[str, Tensor], candidates: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match=f"may be of {' or '.join(candidates)}") as caught:
        sdpn.load_model(_saved(tmp_path / "m.pt", state))
    assert all(f"--format {name}" in str(caught.value) for name in candidates)


def test_a_training_classifier_settles_it(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.pt", resnet() | {"projection.weight": torch.zeros(9, 6)})
    assert read_any(path).source["format"] == "wespeaker"


def test_ddp_prefixes_and_half_precision(tmp_path: Path) -> None:
    state = {f"module.{key}": v.half() if v.is_floating_point() else v for key, v in resnet().items()}
    model = read_any(_saved(tmp_path / "m.pt", state), "3dspeaker")
    assert {parameter.dtype for parameter in model.encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update({"layer2.0.bn1.wait": s.pop("layer2.0.bn1.weight")}),
         ["missing layer2.0.bn1.weight", "unexpected layer2.0.bn1.wait"]),
        (lambda s: s.pop("conv1.weight"), ["missing conv1.weight"]),
        (lambda s: s.pop("seg_1.weight"), ["missing seg_1.weight"]),
        (lambda s: s.update({"conv1.weight": torch.zeros(5, 1, 3, 3)}),
         ["conv1.weight has shape (5, 1, 3, 3), not (4, 1, 3, 3)"]),
        (lambda s: s.update({"seg_1.bias": torch.zeros(7)}), ["seg_1.bias has shape (7,), not (6,)"]),
        (lambda s: s.update({"extra": torch.zeros(7)}), ["unexpected extra"]),
    ],
)  # fmt: skip
def test_faults_of_a_state_dict_are_named_alone(tmp_path: Path, change: Any, words: list[str]) -> None:
    state = resnet()
    change(state)
    with pytest.raises(InputError, match="does not match the layout of ResNet") as caught:
        sdpn.load_model(_saved(tmp_path / "m.pt", state), "3dspeaker")
    faults = str(caught.value).partition("ResNet: ")[2].split("; ")
    assert faults == words


@pytest.mark.parametrize("key", sorted(ecapa()))
def test_any_key_of_an_ecapa_that_is_renamed_is_named(key: str) -> None:
    """Whatever key is wrong, it is that key which is reported, not what was concluded from it."""
    from sdpn.interop.layout import Shapes
    from sdpn.interop.published import SPEECHBRAIN_ECAPA

    state = ecapa()
    state["renamed"] = state.pop(key)
    shapes = Shapes(state)
    with pytest.raises(InputError) as caught:
        SPEECHBRAIN_ECAPA.build(state, SPEECHBRAIN_ECAPA.configure(shapes), 80, Path("m"))
    assert f"missing {key}; unexpected renamed" in str(caught.value)
    assert " has shape " not in str(caught.value)


class _Malice:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_file_that_runs_code_is_refused_and_nothing_is_executed(tmp_path: Path, protocol: str) -> None:
    path, victim = tmp_path / "m.pt", tmp_path / "executed"
    contents = resnet() | {"epoch": _Malice(victim)}
    if protocol == "torch":
        torch.save(contents, path)
    else:
        path.write_bytes(pickle.dumps({"epoch": _Malice(victim)}, protocol=2))
    for format in (None, *FORMATS):
        with pytest.raises(
            InputError,
            match=r"refers to code, '[\w.]+'.*nothing was executed|no such model|is not an ONNX graph",
        ):
            sdpn.load_model(path, format)
    assert not victim.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = _saved(tmp_path / "m.pt", resnet())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="damaged or not a torch file"):
        sdpn.load_model(path, "3dspeaker")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([1, 2], "contains list"),
        ({"epoch": 3, "conv1.weight": torch.zeros(1)}, "supported"),
        ({"something.weight": torch.zeros(1)}, "supported"),
        ({"teacher": 5}, "not a state dict"),
        ({"teacher": {"head.weight": torch.zeros(1)}}, "no backbone"),
        ({"teacher": {"module.backbone.w": torch.zeros(1)}}, "match no supported network"),
        ({"teacher": {"module.backbone.w": "text"}}, "is not a tensor"),
        ({}, "supported"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, contents: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sdpn.load_model(_saved(tmp_path / "m.pt", contents))


def test_nothing_there_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        sdpn.load_model(tmp_path / "none")
    with pytest.raises(InputError, match="unknown format 'kaldi'"):
        sdpn.load_model(tmp_path, "kaldi")
    with pytest.raises(InputError, match=r"not a model folder of a supported format.*3dspeaker: a file"):
        sdpn.load_model(tmp_path)
    with pytest.raises(InputError, match="single files"):
        sdpn.load_model(tmp_path, "3dspeaker")


@pytest.mark.parametrize("missing", ["avg_model.pt", "config.yaml"])
def test_an_incomplete_folder_of_wespeaker(tmp_path: Path, missing: str) -> None:
    folder = _wespeaker(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"incomplete: it has no {missing}"):
        sdpn.load_model(folder, "wespeaker")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "REPVGG"}, "'REPVGG', which is not supported"),
        ({"model": "CAMPPlus"}, "its weights are of ResNet"),
        ({"model": None}, "has no 'model'"),
        ({"model_args": {"pooling_func": "TSDP"}}, "pooling_func is 'TSDP'"),
        ({"dataset_args": {"frontend": "s3prl"}}, "frontend is 's3prl'"),
        ({"dataset_args": {"resample_rate": 8000}}, "8000 Hz"),
        ({"dataset_args": {"fbank_args": {"num_mel_bins": "many"}}}, "features cannot be read"),
        ({"dataset_args": {"fbank_args": {"num_mel_bins": 40}}}, "does not match the layout"),
    ],
)
def test_a_wespeaker_configuration_that_cannot_be_read(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        sdpn.load_model(_wespeaker(tmp_path / "model", **changes))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ECAPA_TDNN.ECAPA_TDNN", "Xvector.Xvector", "does not describe an ECAPA_TDNN"),
        ("features.Fbank", "features.MFCC", "does not describe an Fbank"),
        ("sentence\n    std_norm: False", "sentence", "sentence mean normalisation"),
        ("norm_type: sentence", "norm_type: global", "sentence mean normalisation"),
        ("sample_rate: 16000", "sample_rate: 8000", "only 16000 is supported"),
        ("dilations: [1, 2, 3, 4, 1]", "dilations: [1, 2, 1]", "do not match the 3 blocks"),
        ("attention_channels: 5", "groups: [1, 2, 1, 1, 1]", "groups"),
        ("    n_mels: !ref <n_mels>", "    n_mels: !ref <mels>", "cannot be resolved"),
        ("n_mels: 80", "n_mels: !ref <n_mels>", "cannot be resolved"),
        ("    n_mels: !ref <n_mels>", "    n_mels: !ref <n_mels> * 2", "cannot follow"),
        ("    n_mels: !ref <n_mels>", "    n_bands: 80", "unknown setting 'n_bands'"),
        ("    n_mels: !ref <n_mels>", "    deltas: True", "deltas"),
        ("modules: {", "modules: [", "not valid YAML"),
    ],
)
def test_hyperparams_that_cannot_be_read(tmp_path: Path, old: str, new: str, words: str) -> None:
    folder = _speechbrain(tmp_path / "model", old, new)
    with pytest.raises(InputError, match=words):
        sdpn.load_model(folder)
    assert not (folder / "executed").exists()


def test_convert_gives_the_same_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = _speechbrain(tmp_path / "model"), tmp_path / "ours"
    assert main(["convert", "--model", str(folder), "--out", str(out)]) == 0
    assert "features speechbrain-fbank" in capsys.readouterr().out
    np.testing.assert_array_equal(
        sdpn.load_model(out).embed(_wave(), 16000), sdpn.load_model(folder).embed(_wave(), 16000)
    )
    assert yaml.safe_load((out / "config.yaml").read_text())["features"]["kind"] == "speechbrain-fbank"
    assert main(["convert", "--model", str(folder), "--out", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_convert_asks_for_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _saved(tmp_path / "m.pt", resnet())
    assert main(["convert", "--model", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "--format 3dspeaker or --format wespeaker" in capsys.readouterr().err
    assert (
        main(["convert", "--model", str(path), "--format", "wespeaker", "--out", str(tmp_path / "out")]) == 0
    )


@pytest.mark.parametrize("features", ["3dspeaker", "speechbrain"])
def test_windows_in_any_order_equal_few(tmp_path: Path, features: str) -> None:
    model = sdpn.load_model(_saved(tmp_path / "m.pt", ecapa()), features)
    starts = np.random.default_rng(1).permutation(150) * 0.1
    windows = np.stack([starts, starts + 1.0], axis=1)
    wave = _wave(17.0)
    together = model.embed_windows(wave, windows)
    for index in (0, 77, 149):
        alone = model.embed_windows(wave, windows[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-4)


def test_a_folder_of_ours_with_a_file_of_another_toolkit_in_it(tmp_path: Path) -> None:
    folder = _wespeaker(tmp_path / "model")
    out = tmp_path / "ours"
    assert main(["convert", "--model", str(folder), "--out", str(out)]) == 0
    shutil.copy(folder / "avg_model.pt", out)
    with pytest.raises(InputError, match="may be of sdpn or wespeaker"):
        sdpn.load_model(out)
    assert sdpn.load_model(out, "sdpn").embedding_dim == 6


def test_numpy_scalars_of_old_and_new_numpy_are_data(tmp_path: Path) -> None:
    """The module that pickled numbers name moved in numpy 2."""
    numbers = {"loss": np.float64(1.5), "epoch": np.int64(3), "rate": np.float32(0.5)}
    backbone = {f"backbone.{key}": value for key, value in ecapa().items()}
    path = tmp_path / "old.pth"
    torch.save({"teacher": backbone, **numbers}, path, _use_new_zipfile_serialization=False)
    old, new = b"numpy.core.multiarray\n", b"numpy._core.multiarray\n"
    data = path.read_bytes().replace(new, old)
    assert old in data
    for module in (old, new):
        path.write_bytes(data.replace(old, module))
        assert read_any(path).source["branch"] == "teacher"
    assert (
        read_any(_saved(tmp_path / "zip.pth", {"teacher": backbone, **numbers})).source["branch"] == "teacher"
    )
