"""The benchmark on small corpora: right figures, resumed, side by side, refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

import sdpn
from sdpn.benchmark.figures import Row, Value
from sdpn.benchmark.measure import ModelFile
from sdpn.benchmark.plan import Plan
from sdpn.benchmark.run import Benchmark, run_benchmark
from sdpn.errors import InputError
from sdpn.models.segmentation_folder import save_segmentation
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.pretrained import SHIPPED
from tests.distill.test_segmentation import TINY

EER = Plan(parts=("eer",), conditions=("clean", "room"))


def bench(data: Path, out: Path, plan: Plan = EER, **options: Any) -> tuple[Benchmark, list[str]]:
    """Run it; also the cells that were measured now."""
    measured: list[str] = []
    done = run_benchmark(
        options.pop("models", [ModelFile()]),
        data=data,
        out=out,
        plan=plan,
        on_cell=lambda name, _done, _total: measured.append(name),
        **options,
    )
    return done, measured


def value(rows: list[Row], model: int = 0, **wanted: str) -> Value | None:
    (row,) = (row for row in rows if all(getattr(row, key) == text for key, text in wanted.items()))
    return row.values[model]


@pytest.fixture(scope="module")
def first(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Benchmark]:
    out = tmp_path_factory.mktemp("benchmark")
    done, measured = bench(corpora, out)
    assert len(measured) == 5
    return out, done


def test_the_eer_is_that_of_the_embeddings(corpora: Path, first: tuple[Path, Benchmark]) -> None:
    """Against another library's ROC on embeddings of the public interface."""
    trials = [line.split() for line in (corpora / "commonvoice/dev_trials").read_text().splitlines()]
    names = sorted({name for _, *pair in trials for name in pair})
    embeddings = sdpn.load_model().embed([corpora / f"commonvoice/dev/{name}.wav" for name in names])
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = [float(unit[names.index(a)] @ unit[names.index(b)]) for _, a, b in trials]
    false_alarm, hit, _ = roc_curve([int(label) for label, *_ in trials], scores, drop_intermediate=False)
    grid = np.linspace(0, 1, 100_001)
    crossing = grid[np.argmin(np.abs(1 - np.interp(grid, false_alarm, hit) - grid))]
    found = value(first[1].rows, corpus="commonvoice", condition="clean", figure="EER %, cosine")
    assert found is not None and found.value == pytest.approx(100 * crossing, abs=0.01)


def test_only_held_out_speakers_are_tried(first: tuple[Path, Benchmark]) -> None:
    (cell,) = (first[0] / "cells").glob("eer.librispeech-held-out.*")
    with np.load(cell) as file:
        assert file["is_target"].sum() == 6 and len(file["is_target"]) == 15  # two speakers with three each
        assert set(file["first"]) | set(file["second"]) == {0, 1}


def test_a_second_run_measures_nothing(corpora: Path, first: tuple[Path, Benchmark]) -> None:
    done, measured = bench(corpora, first[0])
    assert measured == []
    assert done.rows == first[1].rows


@pytest.mark.slow
def test_a_killed_run_measures_what_is_missing(
    corpora: Path, first: tuple[Path, Benchmark], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(first[0], out)
    next((out / "cells").glob("eer.commonvoice.room.*")).unlink()
    damaged = next((out / "cells").glob("eer.speechocean762.clean.*"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    done, measured = bench(corpora, out, jobs=2)
    assert sorted(measured) == ["eer.commonvoice.room", "eer.speechocean762.clean"]
    assert done.rows == first[1].rows


def test_other_trials_are_measured_again(
    corpora: Path, first: tuple[Path, Benchmark], tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(first[0], out)
    shutil.copytree(corpora, data)
    _, measured = bench(data, out)
    assert len(measured) == 5  # other files, as far as names and times tell
    trials = data / "speechocean762/dev_trials"
    trials.write_text("".join(trials.read_text().splitlines(keepends=True)[:-1]))
    _, measured = bench(data, out)
    assert measured == ["eer.speechocean762.clean", "eer.speechocean762.room"]


def test_models_side_by_side(corpora: Path, first: tuple[Path, Benchmark], tmp_path: Path) -> None:
    """The same network without its back end: no difference, and no second column of scores."""
    plain = tmp_path / "plain"
    shutil.copytree(SHIPPED, plain, ignore=shutil.ignore_patterns("back_end*"))
    out = tmp_path / "out"
    shutil.copytree(first[0], out)
    done, measured = bench(corpora, out, models=[ModelFile(), ModelFile(plain)])
    assert len(measured) == 5
    where = {"corpus": "speechocean762", "condition": "room"}
    ours, theirs = (value(done.rows, n, **where, figure="EER %, cosine") for n in (0, 1))
    assert ours is not None and theirs is not None
    assert (theirs.value, theirs.difference, theirs.difference_low) == (ours.value, 0.0, 0.0)
    assert value(done.rows, 0, **where, figure="EER %, back end") is not None
    assert value(done.rows, 1, **where, figure="EER %, back end") is None
    with pytest.raises(InputError, match="given twice"):
        bench(corpora, out, models=[ModelFile(), ModelFile(SHIPPED), ModelFile()])


def _drop_audio(data: Path) -> None:
    shutil.rmtree(data / "commonvoice/dev/en-a")


def _garble(data: Path) -> None:
    (data / "commonvoice/dev_trials").write_text("1 a b c\n")


def _contradict(data: Path) -> None:
    path = data / "commonvoice/dev_trials"
    path.write_text(path.read_text() + "1 en-a/en-ax0 en-b/en-bx0\n")


def _one_kind(data: Path) -> None:
    path = data / "commonvoice/dev_trials"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if line.startswith("1")))


def _no_noise(data: Path) -> None:
    for path in (data / "noise/rain").glob("4-*"):
        path.unlink()


def _no_held_out(data: Path) -> None:
    shutil.rmtree(data / "librispeech_excerpt/more/32")


@pytest.mark.parametrize(
    ("spoil", "message", "at"),
    [
        (_drop_audio, "3 of the 12 utterances in the trials are not in", "commonvoice/dev_trials"),
        (_garble, "expected", "commonvoice/dev_trials"),
        (_contradict, "a target trial of 'en-a/en-ax0'", "commonvoice/dev_trials"),
        (_one_kind, "target or non-target trials only", "commonvoice/dev_trials"),
        (_no_noise, "no recording that is held out", "noise"),
        (_no_held_out, "fewer than two of the speakers", "librispeech_excerpt/more"),
    ],
)
def test_bad_corpora(
    spoil: Callable[[Path], None], message: str, at: str, corpora: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(corpora, data)
    spoil(data)
    plan = Plan(parts=("eer",), conditions=("clean", "noise 5 dB"))
    with pytest.raises(InputError, match=message) as caught:
        bench(data, tmp_path / "out", plan)
    assert caught.value.path == str(data / at)


def test_meetings(corpora: Path, tmp_path: Path) -> None:
    """What is heard in coloured noise does not matter: the scored speech is 2 s, of one speaker."""
    done, measured = bench(corpora, tmp_path / "out", Plan(parts=("ami",)))
    assert measured == ["ami.ami.clips"]
    (cell,) = (tmp_path / "out/cells").iterdir()
    with np.load(cell) as file:
        assert file["total_s"] == pytest.approx([2.0])
        assert file["nist_total_s"] == pytest.approx([1.5])  # less 0.25 s inside of either boundary
        assert file["reference_speakers"] == [1]
    assert len(done.rows) == 4
    reference = corpora / "ami_excerpt/reference.rttm"
    data = tmp_path / "data"
    shutil.copytree(corpora, data)
    (data / "ami_excerpt/reference.rttm").write_text(reference.read_text().replace("dev00", "dev99"))
    with pytest.raises(InputError, match="'dev99' has only one of audio and reference"):
        bench(data, tmp_path / "out", Plan(parts=("ami",)))


@pytest.fixture(scope="module")
def speech(shared_data: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech of six speakers of either corpus, with the rest of the small corpora."""
    folder = tmp_path_factory.mktemp("speech")
    for corpus in ("speechocean762", "commonvoice"):
        for speaker in sorted((shared_data / corpus / "dev").iterdir())[:6]:
            for path in sorted(speaker.iterdir())[:4]:
                target = folder / corpus / "dev" / speaker.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path)
    for name in ("noise", "rir"):
        (folder / name).symlink_to(corpora / name)
    return folder


def test_a_segmentation_network(corpora: Path, tmp_path: Path) -> None:
    """Meetings are measured with it; trials do not depend on it; another network is another cell."""
    plan = Plan(parts=("ami", "eer"), conditions=("clean",))
    _, measured = bench(corpora, tmp_path / "out", plan)
    assert len(measured) > 1
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_segmentation(tmp_path / "network", SegmentationNet(TINY), window_s=2.0, source={})
        path = str(shutil.copytree(tmp_path / "network", tmp_path / str(seed)))
        _, measured = bench(corpora, tmp_path / "out", plan, segmentation=path)
        assert measured == ["ami.ami.clips"]
    _, measured = bench(corpora, tmp_path / "out", plan, segmentation=path)
    assert measured == []


def test_a_manifest_that_is_none(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="not a valid manifest line"):
        bench(speech, tmp_path / "out", Plan(parts=("der",)), manifest=tmp_path / "m.jsonl")
    assert not (tmp_path / "out").exists()


def test_a_manifest_is_a_row_of_its_own(speech: Path, tmp_path: Path) -> None:
    """Of conversations in rooms that the benchmark itself would not draw."""
    plan = Plan(parts=("der",), seeds=(5,), conversations=1, duration_s=20.0)
    bench(speech, tmp_path / "out", plan)
    manifest = tmp_path / "m.jsonl"
    shutil.copyfile(tmp_path / "out/conversations/speechocean762.dry.5/manifest.jsonl", manifest)
    done, measured = bench(speech, tmp_path / "out", plan, manifest=manifest)
    assert measured == ["der.manifest.as-written"]
    assert done.manifest == {"sim0": "equal"}
    same, other = (
        value(done.rows, corpus=corpus, condition=condition, figure="DER %, collar 0")
        for corpus, condition in (("speechocean762", "dry"), ("manifest", "as written"))
    )
    assert same == other is not None


def test_conversations(speech: Path, tmp_path: Path) -> None:
    plan = Plan(parts=("der", "cost"), seeds=(5,), conversations=1, duration_s=25.0, cost_conversations=1)
    done, measured = bench(speech, tmp_path / "out", plan)
    assert len(measured) == 7  # two corpora in three conditions, and the cost
    folders = {path.name: path for path in (tmp_path / "out/conversations").iterdir()}
    kinds = ("dry.5", "room-and-noise.5")
    assert folders.keys() == {
        f"{name}.{kind}" for name in ("speechocean762", "commonvoice") for kind in kinds
    }
    manifests = {name: (path / "manifest.jsonl").read_text() for name, path in folders.items()}
    wet = manifests["commonvoice.room-and-noise.5"]
    assert "cinema-hall" in wet and "kitchen" not in wet and "rain/4-" in wet and "rain/1-" not in wet
    assert "cinema-hall" not in manifests["commonvoice.dry.5"]
    references = {(path / "reference.rttm").read_text() for path in folders.values()}
    assert len(references) == 2  # the same turns, near and far
    cost = value(done.rows, part="cost")
    assert cost is not None and 1 < cost.value < 2000
    der = {
        condition: value(done.rows, corpus="both", condition=condition, figure="DER %, collar 0")
        for condition in ("dry", "room and noise", "telephone")
    }
    assert len({each.value for each in der.values() if each is not None}) == 3
    again, measured = bench(speech, tmp_path / "out", plan)
    assert measured == [] and again.rows == done.rows
