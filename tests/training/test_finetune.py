"""Fine-tuning: what is trained and what stays, resuming, comparison before and after, bad input."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.data.mel_folder import write_mel_folder
from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_data_dir, write_data_dir
from sdpn.models.adapter_folder import with_adapters
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.registry import build_encoder
from sdpn.training.comparison import read_trial_list, trial_file
from sdpn.training.finetune import FinetuneSources, finetune
from sdpn.training.finetune_config import FinetuneConfig
from tests.interop.published_weights import resnet
from tests.training.test_supervised_run import _labels, _state, _stored
from tests.training.torchrun import torchrun

SMALL = [
    "training.workers=0",
    "training.steps=6",
    "training.batch_size=4",
    "training.precision=fp32",
    "training.log_every=2",
    "training.watch_every=4",
    "training.checkpoint_every=4",
    "crops.global_s=1.0",
    "crops.local_s=0.5",
    "augmentation.preset=none",
    "optimizer.warmup_steps=2",
    "optimizer.lr=1e-3",
    "test.resamples=20",
    "head.hidden_dim=16",
    "head.projection_dim=8",
    "sdpn.num_prototypes=6",
]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of five parts: stem, two blocks, aggregation with pooling, embedding."""
    torch.manual_seed(0)
    config = EcapaConfig(
        channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8, dilations=(2, 3)
    )
    path = tmp_path_factory.mktemp("start") / "model"
    save_model(path, ModelFolder(build_encoder(config, 80).eval(), config, FeatureConfig()))
    return path


def _finetune(
    start: Path, data: Path, out: Path, *settings: str, new_head: bool = False, back_end: bool = False,
    **sources: Any,
) -> dict[str, Any]:  # fmt: skip
    config = load_config(FinetuneConfig, None, [*SMALL, *settings])
    given = FinetuneSources(model=start, data=[data], **sources)
    return finetune(config, given, out, new_head=new_head, back_end=back_end)


def _changed(start: Path, model: Path) -> set[str]:
    """Parts of the encoder whose parameters differ."""
    old, new = read_model(start).encoder, read_model(model).encoder.state_dict()
    return {
        ".".join(name.split(".")[: 2 if name.startswith("blocks") else 1])
        for name, value in old.named_parameters()
        if not torch.equal(value, new[name])
    }


_ALL = {"stem", "blocks.0", "blocks.1", "aggregation", "pooling", "pooled_norm", "embedding"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["layers.decay=0.5", "layers.head_steps=2"], _ALL),
        (["layers.trained=head"], set()),
        (["layers.head_steps=6"], set()),
        (
            ["layers.trained=gradual", "layers.unfreeze_every=2", "layers.head_steps=1"],
            {"embedding", "pooling", "pooled_norm", "aggregation"},
        ),
    ],
)
def test_only_what_is_unfrozen_changes(
    start: Path, voices: Path, tmp_path: Path, settings: list[str], expected: set[str]
) -> None:
    still = ["teacher.momentum=0", "teacher.final_momentum=0"]
    results = _finetune(start, voices, tmp_path, *settings, *still)
    assert _changed(start, tmp_path / "model") == expected
    if not expected:  # a frozen network is the same to the bit, its running averages too
        old, new = (read_model(path).encoder.state_dict() for path in (start, tmp_path / "model"))
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert results["trained_share"] == (0 if "layers.trained=head" in settings else 1)


def test_lower_layers_learn_slower_and_the_pull_and_the_blend_keep_them_near(
    start: Path, voices: Path, tmp_path: Path
) -> None:
    def moved(name: str, *settings: str) -> dict[str, float]:
        _finetune(start, voices, tmp_path / name, "teacher.momentum=0", "teacher.final_momentum=0", *settings)
        old, new = (read_model(path).encoder.state_dict() for path in (start, tmp_path / name / "model"))
        return {key: float((new[key] - old[key]).abs().mean()) for key in old if key.endswith("weight")}

    plain = moved("plain", "layers.batch_norm=kept")
    decayed = moved("decayed", "layers.decay=0.1", "layers.batch_norm=kept")
    ratios = [
        decayed[key] / plain[key] for key in ("stem.0.weight", "blocks.1.merge.0.weight", "embedding.weight")
    ]
    # Adam's steps are as long as the learning rate: 0.1 to the power of the parts above
    assert ratios == pytest.approx([1e-5, 1e-3, 1.0], rel=0.5)
    blended = moved("blended", "layers.blend=0.25", "layers.batch_norm=kept")
    assert blended["stem.0.weight"] == pytest.approx(0.25 * plain["stem.0.weight"], rel=1e-3)
    pulled = moved("pulled", "layers.toward_start=500", "layers.batch_norm=kept")
    assert pulled["stem.0.weight"] < 0.8 * plain["stem.0.weight"]


@pytest.mark.parametrize(("activation", "norms"), [("none", False), ("relu", True)])
def test_adapters_alone_are_trained_and_saved(
    start: Path, voices: Path, tmp_path: Path, activation: str, norms: bool
) -> None:
    settings = [f"adapters.activation={activation}", "adapters.bottleneck=2", "optimizer.lr=1e-2"]
    settings += [f"adapters.norms={str(norms).lower()}"]
    results = _finetune(start, voices, tmp_path, "layers.trained=adapters", *settings)
    assert 0 < results["trained_share"] < 0.5
    made = with_adapters(read_model(start), tmp_path / "adapters")
    whole = read_model(tmp_path / "model")
    assert (whole.adapters is None) is (activation == "none")
    old, new = (
        read_model(path).encoder.get_submodule("pooled_norm").state_dict()
        for path in (start, tmp_path / "model")
    )
    assert all(torch.equal(old[name], new[name]) is not norms for name in ("weight", "running_mean"))
    features = torch.randn(1, 80, 60)
    torch.testing.assert_close(made.encoder(features), whole.encoder(features), rtol=1e-4, atol=1e-5)
    assert (whole.encoder(features) - read_model(start).encoder(features)).abs().max() > 1e-4
    converted = tmp_path / "converted"
    options = ["--model", str(start), "--adapters", str(tmp_path / "adapters"), "--out", str(converted)]
    assert main(["convert", *options, "--quiet"]) == 0
    torch.testing.assert_close(
        read_model(converted).encoder(features), made.encoder(features), rtol=1e-5, atol=1e-6
    )


_RESUMED = [
    ["layers.trained=gradual", "layers.unfreeze_every=2", "layers.toward_start=1", "layers.decay=0.7"],
    ["layers.trained=adapters", "supervised.balanced=true", "supervised.sub_centres=2"],
    ["layers.head_steps=3", "supervised.long_start_step=5", "supervised.long_s=0.7", "layers.blend=0.5"],
]


@pytest.mark.parametrize(
    ("settings", "unlabelled"),
    [
        (_RESUMED[0], True),
        (_RESUMED[1], False),
        (_RESUMED[2], False),
        pytest.param(_RESUMED[0], False, marks=pytest.mark.slow),
        pytest.param(_RESUMED[1], True, marks=pytest.mark.slow),
        pytest.param(_RESUMED[2], True, marks=pytest.mark.slow),
    ],
)
def test_a_continued_run_is_the_uninterrupted_one(
    start: Path, voices: Path, tmp_path: Path, settings: list[str], unlabelled: bool
) -> None:
    more = {"unlabelled": [_part(voices, tmp_path / "more", range(12, 24))]} if unlabelled else {}
    data = _part(voices, tmp_path / "labelled", range(12)) if unlabelled else voices
    out = tmp_path / "exp"
    results = _finetune(start, data, out, *settings, valid=voices, **more)
    expected, models = _state(out, 6), {name: _stored(out / name) for name in ("model", "last")}
    for name in ("checkpoints/step-00000006", "model", "last"):
        shutil.rmtree(out / name)
    again = _finetune(start, data, out, *settings, valid=voices, **more)
    assert _state(out, 6) == expected
    assert {name: _stored(out / name) for name in ("model", "last")} == models
    assert {**again, "seconds": 0} == {**results, "seconds": 0}


def _part(voices: Path, folder: Path, rows: range) -> Path:
    """Some utterances as a data directory, with other ids."""
    utterances = read_data_dir(voices)
    folder.mkdir()
    write_data_dir(folder, [utterances[row] for row in rows])
    return folder


def test_before_and_after_are_measured_on_the_same_trials(
    start: Path, voices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sdpn import load_model, similarity
    from sdpn.metrics.verification import equal_error_rate, error_rates

    results = _finetune(start, voices, tmp_path, "training.steps=2", test=[voices])
    assert f"--test {voices} and --data share 24 utterances" in caplog.text
    (compared,) = results["comparisons"]
    listed = read_trial_list(voices, voices / "trials")
    for which, model in (("before", start), ("after", tmp_path / "model")):
        rows = load_model(model).embed([one.path for one in listed.utterances])
        scores = similarity(rows, rows)[listed.trials.first, listed.trials.second]  # type: ignore[index]
        eer = equal_error_rate(error_rates(scores, listed.trials.is_target))[0]
        assert compared[which] == pytest.approx(eer, abs=1e-6)
    assert compared["difference"] == pytest.approx(compared["after"] - compared["before"])
    assert compared["low"] <= compared["difference"] <= compared["high"] and not compared["chosen"]
    stored = np.load(tmp_path / f"comparisons/{voices.name}.npz")
    assert len(stored["before"]) == 276 == len(stored["is_target"])


def test_trials_are_made_of_the_speakers(voices: Path, tmp_path: Path) -> None:
    data = _part(voices, tmp_path / "data", range(24))
    listed = read_trial_list(data, trial_file(data, tmp_path / "all", most=10_000, seed=0))
    assert len(listed.trials) == 276 and listed.trials.is_target.sum() == 6 * 6  # all pairs; 4 of a voice
    fewer = read_trial_list(data, trial_file(data, tmp_path / "few", most=50, seed=0))
    assert len(fewer.trials) == 50 and fewer.trials.is_target.sum() == 25
    (data / "utt2spk").write_text("".join(f"u{i:02} s{i}\n" for i in range(24)))
    with pytest.raises(InputError, match="one utterance of every speaker"):
        trial_file(data, tmp_path / "none", most=50, seed=0)


def test_validation_chooses_and_patience_ends(start: Path, voices: Path, tmp_path: Path) -> None:
    settings = ["training.steps=40", "evaluation.every=2", "supervised.patience=2"]
    frozen = ["optimizer.lr=1e-12", "optimizer.final_lr=0", "guards.window=0", "layers.trained=head"]
    results = _finetune(start, voices, tmp_path, *settings, *frozen, valid=voices)
    assert results["steps"] == 6 and results["best_step"] == 2  # no better at 4 and 6
    assert results["comparisons"][0]["chosen"] and results["comparisons"][0]["difference"] == 0
    assert results["best_eer"] == pytest.approx(results["comparisons"][0]["after"], abs=1e-9)
    with pytest.raises(InputError, match="patience needs a validation set"):
        _finetune(start, voices, tmp_path / "without", *settings)


def test_a_classifier_is_kept_for_the_same_classes_only(start: Path, voices: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert _finetune(start, voices, first)["new_head"]
    again = _finetune(first / "model", voices, tmp_path / "again", "training.steps=0")
    assert not again["new_head"]
    names = [
        json.loads((out / "model/classes.json").read_text())["classes"] for out in (first, tmp_path / "again")
    ]
    assert names[0] == names[1]
    assert (
        _stored(first / "model")["pretraining.safetensors"]
        == _stored(tmp_path / "again/model")["pretraining.safetensors"]
    )
    labels = _labels(voices, tmp_path / "labels", {"u00": "someone"})
    other = f"supervised.labels={labels}"
    with pytest.raises(
        InputError, match=r"classifies 6 classes, the data have 7: 'someone' is only in the data"
    ):
        _finetune(first / "model", voices, tmp_path / "refused", other)
    with pytest.raises(InputError, match=r"supervised\.head=aam sub_centres=1, not linear"):
        _finetune(first / "model", voices, tmp_path / "refused2", "supervised.head=linear")
    speeds = "augmentation.speed_probability=0.5"
    with pytest.raises(InputError, match="of speech at its own speed alone"):
        _finetune(first / "model", voices, tmp_path / "refused3", speeds)
    assert _finetune(first / "model", voices, tmp_path / "new", other, new_head=True)["new_head"]


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_kept_linear_classifier_keeps_its_bias(
    start: Path, voices: Path, tmp_path: Path, head: str
) -> None:
    from sdpn.models.classifier import read_classifier

    _finetune(start, voices, tmp_path / "first", f"supervised.head={head}")
    _finetune(
        tmp_path / "first/model", voices, tmp_path / "second", f"supervised.head={head}", "training.steps=0"
    )
    rows = torch.randn(3, 12)
    first, second = (read_classifier(tmp_path / name / "model").logits(rows) for name in ("first", "second"))
    torch.testing.assert_close(first, second)


def test_unlabelled_speech_trains_the_encoder_but_not_the_classifier(
    start: Path, voices: Path, tmp_path: Path
) -> None:
    labelled, more = _part(voices, tmp_path / "a", range(12)), _part(voices, tmp_path / "b", range(12, 24))
    (more / "utt2spk").write_text("".join(f"u{i} nobody\n" for i in range(12, 24)))  # not read
    results = _finetune(start, labelled, tmp_path / "exp", unlabelled=[more])
    assert results["num_utterances"] == 24
    classes = json.loads((tmp_path / "exp/model/classes.json").read_text())["classes"]
    assert classes == [f"voice{index}" for index in range(6)]
    with pytest.raises(InputError, match="is also in"):
        _finetune(start, labelled, tmp_path / "twice", unlabelled=[labelled])
    with pytest.raises(InputError, match=r"needs supervised\.head am or aam"):
        _finetune(start, labelled, tmp_path / "linear", "supervised.head=linear", unlabelled=[more])


def test_a_new_model_has_a_new_back_end_or_none(
    start: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _finetune(start, voices, tmp_path / "new", back_end=True)["back_end"] == "new"
    from sdpn.models.weights import weights_digest
    from sdpn.verification.storage import read_back_end

    model = read_model(tmp_path / "new/model")
    assert read_back_end(tmp_path / "new/model").model == weights_digest(model.encoder)
    options = ["--model", str(tmp_path / "new/model"), "--data", str(voices), "--out", str(tmp_path / "next")]
    assert main(["finetune", *options, *SMALL]) == 0
    assert "does not fit the new one" in capsys.readouterr().out
    assert not (tmp_path / "next/model/back_end.safetensors").exists()


def test_a_model_of_another_toolkit_is_a_start_like_any_other(voices: Path, tmp_path: Path) -> None:
    torch.save({"module." + key: value for key, value in resnet().items()}, tmp_path / "resnet.pt")
    results = _finetune(
        tmp_path / "resnet.pt",
        voices,
        tmp_path / "exp",
        "layers.decay=0.5",
        format="wespeaker",
        test=[voices],
    )
    assert read_model(tmp_path / "exp/start").source["name"] == "resnet.pt"
    assert read_model(tmp_path / "exp/model").encoder_config.kind == "resnet"
    assert results["trained_share"] == 1 and len(results["comparisons"]) == 1


def test_bad_input(start: Path, voices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lonely = _labels(voices, tmp_path / "lonely", {"u07": "lonely"})
    with caplog.at_level(logging.WARNING):
        _finetune(start, voices, tmp_path / "one", "training.steps=1", f"supervised.labels={lonely}")
    assert "1 classes ('lonely') have one utterance" in caplog.text
    some = _labels(voices, tmp_path / "some", {"u03": None})
    with pytest.raises(InputError, match="no label for 'u03'"):
        _finetune(start, voices, tmp_path / "missing", f"supervised.labels={some}")
    with pytest.raises(InputError, match="7 folds cannot be made"):
        _finetune(start, voices, tmp_path / "folds", "supervised.folds=7")
    assert not (tmp_path / "missing").exists() and not (tmp_path / "folds").exists()
    with pytest.raises(InputError, match="was begun with another model: digest"):
        other = tmp_path / "other"
        model = read_model(start)
        torch.manual_seed(9)
        save_model(
            other,
            ModelFolder(build_encoder(model.encoder_config, 80).eval(), model.encoder_config, model.features),
        )
        _finetune(other, voices, tmp_path / "one", "training.steps=1", f"supervised.labels={lonely}")
    assert (tmp_path / "one/start").exists()  # of the run that was begun
    with pytest.raises(InputError, match="utterances of one speaker only"):
        single = _part(voices, tmp_path / "single", range(0, 24, 6))
        _finetune(start, voices, tmp_path / "trials", test=[single])


@pytest.mark.parametrize(
    ("bands", "fault", "message"),
    [
        (8, None, "has features of 8 mel bands; the run is of 80"),
        (80, np.nan, r"uttr-.*\.pt.*(NaN|finite)"),
        (80, None, None),
    ],
)
def test_features_are_those_of_the_model_and_finite(
    start: Path, tmp_path: Path, bands: int, fault: float | None, message: str | None
) -> None:
    rng = np.random.default_rng(0)
    mels = [(f"id{index % 3}", rng.standard_normal((60, bands)).astype(np.float32)) for index in range(12)]
    if fault is not None:
        mels[4][1][3, 5] = fault
    (tmp_path / "mels").mkdir()
    write_mel_folder(tmp_path / "mels", mels, num_mels=bands)
    if message is None:
        assert _finetune(start, tmp_path / "mels", tmp_path / "exp")["num_utterances"] == 12
        return
    with pytest.raises(InputError, match=message) as caught:
        _finetune(start, tmp_path / "mels", tmp_path / "exp")
    assert "cannot be changed" in str(caught.value) or fault is not None


@pytest.mark.slow  # it is exported first
def test_a_graph_cannot_be_trained(start: Path, voices: Path, tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    assert main(["convert", "--model", str(start), "--to", "onnx", "--out", str(graph), "--quiet"]) == 0
    with pytest.raises(InputError, match="is a graph, whose weights cannot be extracted"):
        _finetune(graph, voices, tmp_path / "exp")


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(start: Path, voices: Path, tmp_path: Path) -> None:
    more = _part(voices, tmp_path / "more", range(12, 24))
    data = _part(voices, tmp_path / "labelled", range(12))
    # batch norm in training has statistics of its own in each process on CPUs
    settings = [*SMALL, "training.batch_size=8", "layers.batch_norm=kept", "head.batch_norm=false"]
    settings += ["layers.head_steps=2", "optimizer.kind=sgd", "optimizer.lr=1e-2"]
    command = ["-m", "sdpn", "finetune", "--model", str(start), "--data", str(data), "--valid", str(voices)]
    command += ["--unlabelled", str(more), *settings]
    for processes in (1, 2):
        done = torchrun(processes, *command, "--out", str(tmp_path / str(processes)))
        assert done.returncode == 0, done.stderr
    one, two = (read_model(tmp_path / name / "last").encoder.state_dict() for name in ("1", "2"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)
