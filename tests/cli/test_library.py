"""Behind every command there is one function of the library: both are run on the same input and compared.

A new command needs an entry in `LIBRARY`, a case named after it, and a line in docs/api.md.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import queue
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open

import sdpn
from sdpn.cli.commands import COMMANDS
from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.inputs import find_utterances, recordings
from sdpn.io.kaldi import read_data_dir, read_vectors, vector_writer, write_data_dir
from sdpn.io.rttm import Turn, write_rttm
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from tests.adaptation.conftest import base, calls  # noqa: F401 - fixtures
from tests.adaptation.test_adapt import SMALL
from tests.benchmark.small_corpora import write_corpora
from tests.conftest import TINY, write_noise
from tests.service.conftest import PATIENCE_S, Client, Service

#: Commands on the command line itself, behind which there is none.
ON_THE_COMMAND_LINE = ("config", "completion")

#: The function behind each other command.
LIBRARY = {
    "train": "sdpn.training.pretrain.pretrain",
    "average": "sdpn.training.average.average_checkpoints",
    "finetune": "sdpn.training.finetune.finetune",
    "search": "sdpn.experiments.choose.choose_settings",
    "cross-validate": "sdpn.experiments.cross_validation.cross_validate",
    "ensemble": "sdpn.experiments.ensemble.compare_ensembles",
    "prune": "sdpn.experiments.prune.prune_model",
    "adapt": "sdpn.adapt",
    "extract": "sdpn.extract",
    "compare": "sdpn.compare",
    "backend": "sdpn.training.back_end.train_back_end",
    "pseudo-label": "sdpn.extraction.pseudo_label.pseudo_label",
    "verify": "sdpn.verify",
    "diarize": "sdpn.diarization.recordings.diarize_recordings",
    "serve": "sdpn.service.serve.serve",
    "enroll": "sdpn.people.enroll.enroll_person",
    "words": "sdpn.words.speakers_of_words.speakers_of_words",
    "edit": "sdpn.editing.edit.edit_document",
    "link": "sdpn.linking.archive.link_archive",
    "verify-receipt": "sdpn.receipt.verify_receipt",
    "tune": "sdpn.tuning.tune.tune",
    "cluster": "sdpn.diarization.from_embeddings.cluster_recordings",
    "kmeans": "sdpn.kmeans.cluster.learn_clusters",
    "simulate": "sdpn.simulate",
    "degrade": "sdpn.augmentation.degrade.degrade_corpus",
    "pack": "sdpn.data.pack.pack",
    "batch": "sdpn.batch.array.run_array",
    "data": "sdpn.data.directories.fix.fix_data_dir",
    "drift": "sdpn.tracking.drift.prototype_drift",
    "benchmark": "sdpn.benchmark.run.run_benchmark",
    "score": "sdpn.score",
    "report": "sdpn.report.report.write_report",
    "explain": "sdpn.explain.utterance.explain_utterance",
    "models": "sdpn.models.cost.list_encoders",
    "convert": "sdpn.convert",
}


def function_behind(command: str) -> Callable[..., Any]:
    """The function of the library."""
    module, _, name = LIBRARY[command].rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


@dataclass(frozen=True)
class Material:
    """What the cases work on, and where they write: ``cli`` and ``library`` below ``out``."""

    model: Path
    base: Path
    voices: Path
    calls: Path
    out: Path
    request: pytest.FixtureRequest

    @property
    def cli(self) -> Path:
        """For the command."""
        return self.out / "cli"

    @property
    def library(self) -> Path:
        """For the library."""
        return self.out / "library"

    def command(self, *arguments: object) -> dict[str, Any]:
        """Run a command; returns the results that ``--json`` stores."""
        document = self.out / "results.json"
        words = [str(argument) for argument in arguments]
        end = words.index("--") if "--" in words else len(words)
        assert main([*words[:end], "--quiet", "--json", str(document), *words[end:]]) == 0
        found: dict[str, Any] = json.loads(document.read_text())["results"]
        return found


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model."""
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=4, bottleneck=8)
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    return path


@pytest.fixture
def material(
    tiny_model: Path,
    base: Path,  # noqa: F811
    voices: Path,
    calls: Path,  # noqa: F811
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Material:
    """For one case."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "library").mkdir()
    return Material(tiny_model, base, voices, calls, tmp_path, request)


def content(path: Path) -> Any:
    """The bytes of a file; safetensors write their metadata in any order."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "np") as opened:
        tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
        return opened.metadata(), [(name, row.shape, row.tobytes()) for name, row in tensors.items()]


def files(folder: Path, *suffixes: str) -> dict[str, Any]:
    """Files below a folder, by name; those with ``suffixes``, or all."""
    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (not suffixes or path.name.endswith(suffixes))
    }


def plain(value: Any) -> Any:
    """As it comes out of JSON."""
    return json.loads(json.dumps(value, default=lambda other: other.item()))


def without(results: dict[str, Any], *names: str) -> dict[str, Any]:
    """Without what differs by nature: places and times."""
    return {key: value for key, value in results.items() if key not in names}


def elsewhere(corpus: Path, folder: Path) -> Path:
    """A copy of a corpus: speech of its own, as far as files say."""
    folder.mkdir()
    for name in ("utt2spk", "trials"):
        shutil.copy(corpus / name, folder / name)
    copied = [
        dataclasses.replace(one, path=Path(shutil.copy(one.path, folder))) for one in read_data_dir(corpus)
    ]
    write_data_dir(folder, copied)
    return folder


def train(at: Material) -> None:
    from sdpn.training.config import load_run_config
    from sdpn.training.pretrain import pretrain

    settings = [*TINY, "training.steps=2", "training.workers=0"]
    at.command("train", "--data", at.voices, "--out", at.cli, *settings)
    pretrain(load_run_config(None, settings), [at.voices], at.library)
    assert files(at.cli / "model", ".safetensors") == files(at.library / "model", ".safetensors")


def average(at: Material) -> None:
    from sdpn.training.average import average_checkpoints

    settings = [*TINY, "training.steps=2", "training.checkpoint_every=1", "training.workers=0"]
    at.command("train", "--data", at.voices, "--out", at.out / "exp", *settings)
    by_cli = at.command("average", at.out / "exp", "--checkpoints", 2, "--out", at.cli / "mean")
    by_library = average_checkpoints(at.out / "exp", 2)
    by_library.save(at.library / "mean")
    assert by_cli["steps"] == by_library.steps == [1, 2]
    assert files(at.cli) == files(at.library)


def finetune(at: Material) -> None:
    from sdpn.training.finetune import FinetuneSources
    from sdpn.training.finetune import finetune as by_function
    from sdpn.training.finetune_config import FinetuneConfig

    settings = ["training.steps=2", "training.workers=0", "training.batch_size=4", "test.resamples=10"]
    options = ("--model", at.model, "--data", at.voices, "--test", at.voices)
    by_cli = at.command("finetune", *options, "--out", at.cli / "exp", *settings)
    by_library = by_function(
        load_config(FinetuneConfig, None, settings),
        FinetuneSources(model=at.model, data=[at.voices], test=[at.voices]),
        at.library / "exp",
    )
    names = ("model", "start", "seconds")
    assert without(by_cli, *names) == without(plain(by_library), *names)
    assert files(at.cli / "exp/model", ".safetensors") == files(at.library / "exp/model", ".safetensors")


#: A training of two steps, which two commands repeat.
REPEATED = [*TINY, "training.steps=2", "training.workers=0"]


def search(at: Material) -> None:
    from sdpn.config import as_overrides
    from sdpn.experiments.choose import choose_settings
    from sdpn.experiments.held_out import read_held_out
    from sdpn.training.config import RunConfig, load_run_config
    from sdpn.training.pretrain import pretrain

    others = elsewhere(at.voices, at.out / "others")

    def configured(settings: Mapping[str, object]) -> RunConfig:
        return load_run_config(None, [*REPEATED, *as_overrides(settings)])

    words = (
        "--try",
        "optimizer.lr=0.1",
        "--dev",
        others,
        "--out",
        at.cli,
        "--",
        "train",
        "--data",
        at.voices,
    )
    by_cli = at.command("search", *words, *REPEATED)
    by_library = choose_settings(
        lambda settings: repr(configured(settings)),
        lambda settings, out: pretrain(configured(settings), [at.voices], out),
        {"optimizer.lr": [0.1]},
        at.library,
        dev=read_held_out(others),
        speech=read_data_dir(at.voices),
        made_from="two steps",
    ).to_dict()
    for found in (by_cli, by_library):
        found["trials"] = [
            {**without(one, "seconds"), "results": without(one["results"], "seconds")}
            for one in found["trials"]
        ]
    assert by_cli == plain(by_library) and len(by_cli["trials"]) == 2
    for names in (("search.png",), ("settings.yaml",), (".safetensors",)):
        assert files(at.cli, *names) == files(at.library, *names)


def cross_validate(at: Material) -> None:
    from sdpn.experiments.cross_validation import cross_validate as function
    from sdpn.training.config import load_run_config
    from sdpn.training.pretrain import pretrain

    words = ("--data", at.voices, "--folds", 2, "--before", at.model, "--seed", 3, "--out", at.cli)
    by_cli = at.command("cross-validate", *words, "--", "train", *REPEATED)
    config = load_run_config(None, REPEATED)
    by_library = function(
        at.voices,
        lambda data, out: pretrain(config, [data], out),
        at.library,
        folds=2,
        before=sdpn.load_model(at.model),
        seed=3,
        made_from="two steps",
    ).to_dict()
    for found in (by_cli, by_library):
        found["folds"] = [without(one, "model") for one in found["folds"]]
    assert by_cli == plain(by_library) and by_cli["difference"] is not None
    for names in (("trials",), ("utt2spk",), (".safetensors",)):
        assert files(at.cli, *names) == files(at.library, *names)


def ensemble(at: Material) -> None:
    from sdpn.experiments.ensemble import compare_ensembles
    from sdpn.experiments.held_out import read_held_out

    others, models = elsewhere(at.voices, at.out / "others"), (at.model, at.base)
    words = [word for model in models for word in ("--model", model)]
    by_cli = at.command("ensemble", *words, "--data", at.voices, "--fit", others, "--out", at.cli)
    found = compare_ensembles(models, read_held_out(at.voices), read_held_out(others))
    found.save(at.library)
    assert by_cli == plain(found.to_dict())
    assert files(at.cli) == files(at.library) and len(files(at.cli)) == len(by_cli["rows"])


def prune(at: Material) -> None:
    from sdpn.experiments.held_out import read_held_out
    from sdpn.experiments.prune import prune_model

    words = ("--model", at.model, "--data", at.voices, "--share", "0.5", "--bits", "8", "--out", at.cli)
    by_cli = at.command("prune", *words)
    by_library = prune_model(at.model, read_held_out(at.voices), at.library, [0.5], [8]).to_dict()
    for found in (by_cli, by_library):
        found["rows"] = [without(row, "folder", "ms") for row in found["rows"]]
    assert by_cli == plain(by_library)
    assert files(at.cli) == files(at.library) and len(by_cli["rows"]) == 2


def adapt(at: Material) -> None:
    from sdpn.adaptation.adapt import Sources
    from sdpn.adaptation.config import AdaptConfig
    from sdpn.adaptation.segments import find_recordings

    settings = [*SMALL, "training.steps=0"]
    by_cli = at.command("adapt", "--data", at.calls, "--model", at.base, "--out", at.cli / "new", *settings)
    by_library = sdpn.adapt(
        load_config(AdaptConfig, None, settings),
        Sources(at.base, find_recordings(at.calls, [])),
        out=at.library / "new",
    )
    assert without(by_cli, "model", "work") == without(plain(by_library), "model", "work")
    assert files(at.cli / "new") == files(at.library / "new")


def extract(at: Material) -> None:
    options = ("--model", at.model, "--data", at.voices, "--precision", "fp32", "--windows", "1.0/0.5")
    by_cli = at.command("extract", *options, "--out", at.cli)
    by_library = sdpn.extract(
        sdpn.load_model(at.model), read_data_dir(at.voices), at.library, windows="1.0/0.5", precision="fp32"
    )
    assert without(by_cli, "scp", "seconds") == without(plain(by_library.to_dict()), "scp", "seconds")
    ours, theirs = (read_vectors(folder / "embeddings.scp") for folder in (at.cli, at.library))
    assert list(ours) == list(theirs)
    for key, vector in ours.items():
        np.testing.assert_array_equal(vector, theirs[key])
    assert (at.cli / "segments").read_text() == (at.library / "segments").read_text()


def compare(at: Material) -> None:
    two = [utterance.path for utterance in read_data_dir(at.voices)[:2]]
    by_cli = at.command("compare", "--model", at.model, "--threshold", "0.3", *two)
    by_library = sdpn.compare(sdpn.load_model(at.model), two[0], two[1], threshold=0.3)
    assert (by_cli["score"], by_cli["same_speaker"]) == (by_library.score, by_library.same_speaker)


def backend(at: Material) -> None:
    from sdpn.training.back_end import train_back_end
    from sdpn.verification.learn_back_end import LearningConfig
    from sdpn.verification.storage import write_back_end

    options = ("--model", at.model, "--data", at.voices, "--cohort-size", "20", "--device", "cpu")
    by_cli = at.command("backend", *options, "--out", at.cli / "b.safetensors")
    config = LearningConfig(cohort=20, top=20)
    by_library = train_back_end(sdpn.load_model(at.model), read_data_dir(at.voices), config)
    write_back_end(at.library / "b.safetensors", by_library.back_end)
    assert by_cli["num_utterances"] == by_library.num_utterances
    assert files(at.cli) == files(at.library)


def pseudo_label(at: Material) -> None:
    from sdpn.extraction.halves import embed_with_halves
    from sdpn.extraction.pseudo_label import pseudo_label as function

    options = ("--model", at.model, "--data", at.voices, "--device", "cpu", "--utt2spk")
    by_cli = at.command("pseudo-label", *options, at.voices / "utt2spk", "--out", at.cli / "labels")
    embedded = embed_with_halves(sdpn.load_model(at.model), read_data_dir(at.voices))
    by_library = function([embedded], utt2spk=at.voices / "utt2spk")
    by_library.write(at.library / "labels")
    assert by_cli == plain(by_library.to_dict())
    assert files(at.cli) == files(at.library)


def verify(at: Material) -> None:
    rng = np.random.default_rng(0)
    with vector_writer(at.out) as write:
        for index in range(24):
            write(f"u{index:02}", rng.standard_normal(6) + 3 * np.eye(6)[index % 6])
    trials, embeddings = at.voices / "trials", at.out / "embeddings.scp"
    options = ("--trials", trials, "--embeddings", embeddings, "--utt2spk", at.voices / "utt2spk")
    by_cli = at.command("verify", *options, "--resamples", "50")
    by_library = sdpn.verify(trials, embeddings, utt2spk=at.voices / "utt2spk", resamples=50)
    assert by_cli == plain(by_library.to_dict())


def diarize(at: Material) -> None:
    from sdpn.diarization.recordings import diarize_recordings

    soundfile.write(at.out / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(48000), 16000)
    by_cli = at.command("diarize", "--model", at.model, "--out", at.cli, at.out / "a.wav")
    by_library = diarize_recordings(
        sdpn.Diarizer(sdpn.load_model(at.model)),
        recordings([at.out / "a.wav"]),
        at.library,
        made_with={"model": "tiny"},
    )
    assert files(at.cli, ".rttm") == files(at.library, ".rttm") and files(at.cli, ".rttm")
    ours, theirs = (without(each["files"][0], "outputs", "seconds") for each in (by_cli, vars(by_library)))
    assert ours == plain(theirs)


def serve(at: Material) -> None:
    from sdpn.service.model import ServiceModel
    from sdpn.service.serve import serve as function

    soundfile.write(at.out / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(48000), 16000)
    by_cli = Service(at.cli / "service", "--model", str(at.model), token=None)
    stop, urls = threading.Event(), queue.Queue[str]()
    by_library = threading.Thread(
        target=function,
        args=[at.library / "service", ServiceModel(model=at.model)],
        kwargs={"port": 0, "on_ready": urls.put, "stop": stop},
    )
    by_library.start()
    try:
        found = []
        for client in (by_cli, Client(urls.get(timeout=PATIENCE_S))):
            job_id = client.queued(at.out / "a.wav")
            summary = without(client.finished(job_id)["summary"], "seconds")
            found.append((summary, client.result(job_id, "rttm").text))
        assert found[0] == found[1]
    finally:
        stop.set()
        by_library.join()
        assert by_cli.stop() == 130


def enroll(at: Material) -> None:
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.models.weights import weights_digest
    from sdpn.people.enroll import Enroller, enroll_person
    from sdpn.people.voiceprint import PeopleFolder
    from sdpn.pretrained import SHIPPED
    from sdpn.verification.storage import read_back_end

    speaker = at.request.getfixturevalue("shared_data") / "speechocean762" / "dev" / "0003"
    clips = sorted(speaker.glob("*.opus"))[:2]
    by_cli = at.command("enroll", "--name", "Anna", "--people", at.cli / "people", *clips)
    model = sdpn.load_model()
    made_with = {"model": SHIPPED.name, "format": None, "sdpn": sdpn.__version__}
    digest = weights_digest(model.encoder)
    enroller = Enroller(model, Diarizer(model), read_back_end(SHIPPED), model=digest, made_with=made_with)
    by_library = enroll_person(enroller, PeopleFolder(at.library / "people"), "Anna", clips)
    assert by_cli["people"][0]["speech_s"] == by_library.speech_s
    assert files(at.cli) == files(at.library)


def words(at: Material) -> None:
    from sdpn.words.speakers_of_words import speakers_of_words

    write_rttm(at.out / "m.rttm", "m", [Turn("m", 0.0, 2.0, "A"), Turn("m", 2.0, 2.0, "B")])
    heard = [{"word": f"w{k}", "start": 0.5 * k, "end": 0.5 * k + 0.4} for k in range(8)]
    (at.out / "asr.json").write_text(json.dumps({"words": heard}))
    paths = at.out / "asr.json", at.out / "m.rttm"
    by_cli = at.command("words", "--asr", paths[0], "--turns", paths[1], "--out", at.cli)
    by_library = speakers_of_words(*paths, at.library)
    assert by_cli["words_of"] == by_library["words_of"] == {"A": 4, "B": 4}
    assert files(at.cli) == files(at.library)


def diarized(at: Material) -> None:
    """``out/a.json`` and ``out/b.json``, of two halves that sound different."""
    rng = np.random.default_rng(0)
    for name in "ab":
        white = rng.normal(scale=0.05, size=64000)
        brown = np.convolve(rng.normal(scale=0.05, size=64000), np.ones(16) / 4, mode="same")
        soundfile.write(at.out / f"{name}.wav", np.concatenate([white, brown]), 16000)
        (at.out / "speech.rttm").write_text(
            "".join(f"SPEAKER {one} 1 0.5 7.0 <NA> <NA> x <NA> <NA>\n" for one in "ab")
        )
    options = ["--format", "json", "--embeddings", "--reference-speech", at.out / "speech.rttm"]
    at.command("diarize", at.out / "a.wav", at.out / "b.wav", "--out", at.out / "turns", *options)


def edit(at: Material) -> None:
    from sdpn.editing.corrections import Correction
    from sdpn.editing.edit import edit_document

    diarized(at)
    document = at.out / "turns" / "a.json"
    by_cli = at.command("edit", document, "--is", 1, "Anna", "--out", at.cli)
    by_library = edit_document(document, [Correction("is", "1", "Anna")], at.library)
    assert without(by_cli, "outputs") == without(by_library, "outputs")
    assert files(at.cli) == files(at.library)


def link(at: Material) -> None:
    from sdpn.linking.archive import link_archive

    diarized(at)
    by_cli = at.command("link", at.out / "turns", "--out", at.cli)
    by_library = link_archive([at.out / "turns"], at.library)
    assert by_cli == plain(by_library) and by_cli["num_recordings"] == 2
    assert files(at.cli) == files(at.library)


def verify_receipt(at: Material) -> None:
    from sdpn.receipt import verify_receipt as function

    soundfile.write(at.out / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(48000), 16000)
    at.command("diarize", "--model", at.model, "--out", at.cli, "--format", "json", at.out / "a.wav")
    by_cli = at.command("verify-receipt", at.cli / "a.json")
    assert by_cli == plain(function(at.cli / "a.json").to_dict())


def cluster(at: Material) -> None:
    from sdpn.clustering.registry import make_clusterer
    from sdpn.diarization.from_embeddings import cluster_recordings, read_embedded_windows

    rng = np.random.default_rng(0)
    with vector_writer(at.out) as write:
        for index in range(20):
            write(f"w{index:02}", np.eye(3)[index // 10] + 0.01 * rng.standard_normal(3))
    times = [f"w{index:02} m {0.75 * index} {0.75 * index + 1.5}\n" for index in range(20)]
    (at.out / "segments").write_text("".join(times))
    tables = at.out / "embeddings.scp", at.out / "segments"
    by_cli = at.command("cluster", "--embeddings", tables[0], "--segments", tables[1], "--out", at.cli)
    by_library = cluster_recordings(read_embedded_windows(*tables), at.library, make_clusterer("ahc", {}))
    assert by_cli["files"][0]["num_speakers"] == by_library.files[0].num_speakers == 2
    assert files(at.cli) == files(at.library)


def tune(at: Material) -> None:
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.io.rttm import read_rttm
    from sdpn.tuning.tune import tune as library

    for number in range(2):
        noise = 0.1 * np.random.default_rng(number).standard_normal(48000)
        soundfile.write(at.out / f"a{number}.wav", noise, 16000)
    lines = [f"SPEAKER a{number} 1 0.5 2.0 <NA> <NA> x <NA> <NA>\n" for number in range(2)]
    (at.out / "ref.rttm").write_text("".join(lines))
    audio = [at.out / f"a{number}.wav" for number in range(2)]
    options = ("--ref", at.out / "ref.rttm", "--try", "start=0.5,0.8", "--model", at.model)
    by_cli = at.command("tune", *options, "--out", at.cli, *audio)
    by_library = library(
        Diarizer(sdpn.load_model(at.model)),
        recordings(audio),
        read_rttm(at.out / "ref.rttm"),
        {"start": [0.5, 0.8]},
        at.library,
        made_with={"model": "tiny"},
    )
    assert [row["der"] for row in by_cli["trials"]] == [each.error_rate() for each in by_library.trials]
    assert files(at.cli, "settings.yaml") == files(at.library, "settings.yaml")


def kmeans(at: Material) -> None:
    from sdpn.kmeans.chunks import open_chunk
    from sdpn.kmeans.cluster import label_chunks, learn_clusters
    from sdpn.kmeans.settings import StreamSettings

    np.save(at.out / "rows.npy", np.random.default_rng(0).standard_normal((60, 3)))
    chunks = [open_chunk(at.out / "rows.npy")]
    by_cli = at.command("kmeans", "--clusters", "3", "--out", at.cli, at.out / "rows.npy")
    by_library = learn_clusters(chunks, at.library, StreamSettings(n_clusters=3))
    assert files(at.cli, ".npy", ".npz") == files(at.library, ".npy", ".npz")
    assert without(by_cli, "model", "learning") == without(plain(by_library.to_dict()), "model", "learning")
    model = at.cli / "model.npz"
    again = at.command("kmeans", "--with", model, "--out", at.cli / "more", at.out / "rows.npy")
    labelled = label_chunks(chunks, at.library / "more", by_library.model, path=model)
    assert again == plain(labelled.to_dict())
    assert files(at.cli / "more", ".npy") == files(at.library / "more", ".npy")


def simulate(at: Material) -> None:
    from sdpn.diarization.vad import detect_speech
    from sdpn.simulation.simulate import SimulationConfig, reproduce
    from sdpn.simulation.sources import Folders

    corpus: Path = at.request.getfixturevalue("shared_data") / "speechocean762" / "dev"
    speakers = at.out / "corpus"
    speakers.mkdir()
    for speaker in sorted(corpus.iterdir())[:2]:
        (speakers / speaker.name).symlink_to(speaker)
    drawn = ("--num", "1", "--seed", "3", "--duration", "12", "--max-speakers", "2")
    by_cli = at.command("simulate", "--corpus", speakers, *drawn, "--out", at.cli / "s")
    folders = Folders(corpora=[speakers])
    config = SimulationConfig(num=1, seed=3, duration_s=12, max_speakers=2)
    by_library = sdpn.simulate(config, folders, at.library / "s", detect_speech)
    assert (by_cli["hours"], by_cli["speakers"]) == (by_library.hours, by_library.num_speakers)
    assert files(at.cli) == files(at.library)
    again = reproduce(at.cli / "s/manifest.jsonl", folders, at.library / "s")
    assert not again.changed and files(at.cli) == files(at.library)


def degrade(at: Material) -> None:
    from sdpn.augmentation.degrade import degrade_corpus

    noise = write_noise(at.out / "noise", 2)
    options = ("--noise", noise, "--telephone", "--seed", "3")
    by_cli = at.command("degrade", "--data", at.voices, *options, "--out", at.cli / "d")
    by_library = degrade_corpus(at.voices, at.library / "d", noise=noise, over_telephone=True, seed=3)
    assert without(by_cli, "data") == plain(by_library._asdict())
    assert files(at.cli, ".flac", "trials") == files(at.library, ".flac", "trials")


def pack(at: Material) -> None:
    from sdpn.data.pack import pack as pack_speech

    by_cli = at.command("pack", "--data", at.voices, "--out", at.cli / "p")
    by_library = pack_speech([at.voices], at.library / "p")
    assert without(by_cli, "data") == plain(by_library._asdict())
    assert files(at.cli) == files(at.library)


def batch(at: Material) -> None:
    from sdpn.batch.array import run_array
    from sdpn.kmeans.chunks import open_chunk
    from sdpn.kmeans.cluster import label_chunks
    from sdpn.kmeans.model import KMeansModel

    rng = np.random.default_rng(0)
    chunks = [at.out / f"{name}.npy" for name in "abc"]
    for chunk in chunks:
        np.save(chunk, rng.standard_normal((9, 4)).astype(np.float32))
    at.command("kmeans", "--clusters", 2, "--no-labels", "--out", at.out, *chunks)
    words = ["kmeans", "--with", at.out / "model.npz", "--out"]
    document = at.out / "results.json"
    options = ["--jobs", 2, "--quiet", "--json", document]
    assert main([str(word) for word in ("batch", *options, "--", *words, at.cli, *chunks)]) == 0
    by_cli = json.loads(document.read_text())["results"]
    by_library = run_array(
        [str(word) for word in (*words, at.library, *chunks)], at.library, lambda shard: shard.of("abc"), 2
    )
    model = KMeansModel.load(at.out / "model.npz")
    opened = [open_chunk(chunk) for chunk in chunks]
    label_chunks(opened, at.library, model, path=at.out / "model.npz", merge=True)
    assert without(by_cli, "code", "command") == plain(by_library.to_dict())
    assert files(at.cli / "labels") == files(at.library / "labels") and len(files(at.cli / "labels")) == 3


def data(at: Material) -> None:
    from sdpn.data.directories.combine import combine_data_dirs
    from sdpn.data.directories.fix import fix_data_dir
    from sdpn.data.directories.split import split_data_dir
    from sdpn.data.directories.subset import subset_data_dir
    from sdpn.data.directories.validate import validate_data_dir

    assert at.command("data", "validate", at.voices)["faults"] == validate_data_dir(at.voices) == []
    by_cli = at.command("data", "fix", at.voices, "--out", at.cli / "fixed")
    assert by_cli == plain(fix_data_dir(at.voices, at.library / "fixed")._asdict())
    by_cli = at.command("data", "subset", at.voices, "--last", 5, "--out", at.cli / "last")
    by_library = subset_data_dir(at.voices, at.library / "last", utterances=5, choose="last")
    assert by_cli == plain(by_library._asdict())
    by_cli = at.command("data", "split", at.voices, "--into", 3, "--out", at.cli / "parts")
    parts = split_data_dir(at.voices, at.library / "parts", 3)
    assert by_cli["num_utterances"] == parts.num_utterances == [8, 8, 8]
    by_cli = at.command("data", "combine", *parts.parts, "--out", at.cli / "again")
    assert by_cli == plain(combine_data_dirs(parts.parts, at.library / "again")._asdict())
    assert files(at.cli) == files(at.library) and len(files(at.cli)) == 6 * 3


def drift(at: Material) -> None:
    from sdpn.tracking.drift import prototype_drift

    experiment = at.base.parent
    by_cli = at.command("drift", experiment, "--csv", at.cli / "csv")
    by_library = prototype_drift(experiment)
    by_library.write_csv(at.library / "csv")
    assert by_cli == plain(by_library.to_dict())
    assert files(at.cli) == files(at.library)


def rttm_files(at: Material) -> list[Path]:
    """A reference and two systems of two recordings each."""
    found = []
    for name, shift in (("ref", 0.0), ("a", 0.5), ("b", 0.1)):
        for recording in ("m1", "m2"):
            turns = [Turn(recording, 1.0 + shift, 3.0, "x"), Turn(recording, 4.0, 2.0 + shift, "y")]
            write_rttm(at.out / name / f"{recording}.rttm", recording, turns)
        found.append(at.out / name)
    return found


def score(at: Material) -> None:
    from sdpn.evaluation.score import ScoreSettings, compare_systems

    reference, a, b = rttm_files(at)
    options = ("--resamples", "50", "--skip-overlap")
    settings = ScoreSettings(resamples=50, skip_overlap=True)
    by_cli = at.command("score", "--ref", reference, "--hyp", a, *options)
    assert by_cli == plain(sdpn.score([reference], [a], settings))
    by_cli = at.command("score", "--ref", reference, "--compare", a, b, *options)
    assert by_cli == plain(compare_systems([reference], a, b, settings))


def benchmark(at: Material) -> None:
    from sdpn.benchmark.measure import ModelFile
    from sdpn.benchmark.plan import Plan
    from sdpn.benchmark.run import run_benchmark

    corpora = write_corpora(at.out / "corpora")
    words = ("--data", corpora, "--model", at.model, "--parts", "eer", "--quick")
    by_cli = at.command("benchmark", *words, "--out", at.cli / "b")
    plan = Plan(parts=("eer",)).quick()
    by_library = run_benchmark([ModelFile(at.model)], data=corpora, out=at.library / "b", plan=plan)
    assert by_cli["rows"] == plain([dataclasses.asdict(row) for row in by_library.rows]) and by_cli["rows"]
    assert by_cli["code"] == by_library.code


def report(at: Material) -> None:
    from sdpn.report.report import write_report

    reference, a, _ = rttm_files(at)
    experiment = at.out / "exp"
    (experiment / "results").mkdir(parents=True)
    scored = ("--ref", reference, "--hyp", a, "--resamples", "50")
    words = ["score", *map(str, scored), "--quiet", "--json", str(experiment / "results/score.trained.json")]
    assert main(words) == 0
    by_cli = at.command("report", experiment, "--out", at.cli / "page.html")
    by_library = write_report(experiment, at.library / "page.html")
    assert by_cli["rows"] == plain([dataclasses.asdict(row) for row in by_library.rows]) and by_cli["rows"]
    assert files(at.cli) == files(at.library)


def explain(at: Material) -> None:
    from sdpn.explain.hearing import hear
    from sdpn.explain.network import ExplainedNetwork
    from sdpn.explain.utterance import explain_utterance

    path = read_data_dir(at.voices)[0].path
    by_cli = at.command("explain", "utterance", path, "--model", at.model, "--out", at.cli)
    network = ExplainedNetwork(sdpn.load_model(at.model))
    by_library = explain_utterance(network, hear(network, path))
    assert by_cli == plain(by_library.to_dict())
    stored = np.load(at.cli / "maps.npz")
    for one in by_library.maps:
        np.testing.assert_array_equal(stored[one.method], one.values_FT)


def models(at: Material) -> None:
    from sdpn.models.cost import list_encoders

    by_cli = at.command("models", "ecapa-tiny", "resnet-tiny", "--num-mels", "40")
    by_library = list_encoders(["ecapa-tiny", "resnet-tiny"], num_mels=40)
    assert by_cli["models"] == plain([dataclasses.asdict(encoder) for encoder in by_library])


def convert(at: Material) -> None:
    by_cli = at.command("convert", "--model", at.model, "--half", "--out", at.cli / "m")
    by_library = sdpn.convert(at.model, at.library / "m", half=True)
    assert by_cli["parameters"] == by_library.parameters and by_cli["kind"] == by_library.kind
    assert files(at.cli) == files(at.library)


#: A server of its own takes seconds to start; tests/service has many.
SLOW = {"serve"}


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LIBRARY]
)
def test_the_command_and_the_library_agree(command: str, material: Material) -> None:
    globals()[command.replace("-", "_")](material)


@pytest.mark.parametrize("command", LIBRARY)
def test_every_command_has_a_documented_function(command: str) -> None:
    function = function_behind(command)
    documentation = inspect.getdoc(function) or ""
    assert "Args:" in documentation, f"{LIBRARY[command]} does not explain its arguments"
    page = (Path(__file__).resolve().parents[2] / "docs/api.md").read_text()
    assert f"`sdpn {command}`" in page and LIBRARY[command] in page, "docs/api.md lists every command"


def test_no_command_is_forgotten() -> None:
    assert {*LIBRARY, *ON_THE_COMMAND_LINE} == COMMANDS.keys()


def test_utterances_of_a_command_are_those_of_the_library(voices: Path) -> None:
    assert find_utterances(voices, []) == read_data_dir(voices)
