"""The teacher's embeddings: computed once, kept, found again, and refused where they are another's."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import sdpn
from sdpn.augmentation.speed import at_speed
from sdpn.cli.main import main
from sdpn.distill.distillation import DistillConfig
from sdpn.distill.targets import Targets
from sdpn.errors import InputError
from sdpn.extraction.extractor import Extractor
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_data_dir, write_data_dir
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.training.distributed import Processes
from sdpn.training.teacher_embeddings import Corpus, teacher_embeddings
from tests.conftest import TINY, write_noise

_ALONE = Processes(0, 1, torch.device("cpu"))
_SPEEDS = [Fraction(1), Fraction(9, 10)]


def _teacher(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    save_model(path, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return _teacher(tmp_path / "teacher")


@pytest.fixture
def corpora(tmp_path: Path) -> list[Corpus]:
    first = write_noise(tmp_path / "first", 5)
    second = tmp_path / "second"
    second.mkdir()
    others = read_data_dir(write_noise(tmp_path / "others", 4, num_samples=9000))
    write_data_dir(second, [type(one)(f"second-{one.id}", one.path) for one in others])
    return [Corpus(folder, read_data_dir(folder)) for folder in (first, second)]


def _listen(
    teacher: Path,
    corpora: list[Corpus],
    cache: Path,
    speeds: list[Fraction] | None = None,
    share: float = 0.0,
) -> Targets:
    return teacher_embeddings(
        DistillConfig(teacher=teacher),
        corpora,
        _SPEEDS if speeds is None else speeds,
        cache,
        processes=_ALONE,
        max_missing_share=share,
    )


def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Extractor, "run", lambda *_: pytest.fail("the teacher was asked again"))


def test_rows_are_the_teachers_embeddings_in_the_order_of_the_data(
    teacher: Path, corpora: list[Corpus], tmp_path: Path
) -> None:
    targets = _listen(teacher, corpora, tmp_path / "cache")
    model = sdpn.load_model(teacher)
    utterances = [utterance for corpus in corpora for utterance in corpus.utterances]
    assert targets.speeds == (1.0, 0.9)
    for place, utterance in enumerate(utterances):
        for speed, row in zip(_SPEEDS, targets.rows_SNE[:, place], strict=True):
            alone = model.embed(at_speed(utterance.read(), speed), 16000)
            cosine = alone @ row.numpy() / np.linalg.norm(alone) / row.norm().item()
            assert cosine > 0.9999


def test_what_is_kept_is_not_computed_again(
    teacher: Path, corpora: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _listen(teacher, corpora, tmp_path / "cache")
    _no_work(monkeypatch)
    assert _listen(teacher, corpora, tmp_path / "cache").digest == first.digest


def test_a_kill_takes_only_what_was_being_computed(
    teacher: Path, corpora: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _listen(teacher, corpora, tmp_path / "whole")
    run, asked = Extractor.run, []

    def killed(self: Extractor, utterances: list[object], finished: object) -> object:
        asked.append(len(utterances))
        if len(asked) == 2:
            raise KeyboardInterrupt
        yield from run(self, utterances, finished)  # type: ignore[arg-type]

    monkeypatch.setattr(Extractor, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        _listen(teacher, corpora, tmp_path / "cache")
    again = _listen(teacher, corpora, tmp_path / "cache")
    assert asked == [5, 5, 5, 4, 4]  # the first corpus at speed 1 was done, and stays so
    torch.testing.assert_close(again.rows_SNE, whole.rows_SNE, atol=1e-5, rtol=0)


def test_embeddings_of_another_teacher_are_refused(
    teacher: Path, corpora: list[Corpus], tmp_path: Path
) -> None:
    _listen(teacher, corpora, tmp_path / "cache")
    other = _teacher(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="contains embeddings with another model") as refused:
        _listen(other, corpora, tmp_path / "cache")
    assert "distill.cache" in str(refused.value)


def test_two_teachers_in_one_cache_are_refused_without_either(
    teacher: Path, corpora: list[Corpus], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    _listen(teacher, corpora[:1], cache)
    _listen(_teacher(tmp_path / "other", seed=1), corpora[1:], cache)
    with pytest.raises(InputError, match="was computed by a different teacher than"):
        _listen(tmp_path / "gone", corpora, cache)


def test_a_teacher_that_has_gone_is_not_needed_where_all_is_kept(
    teacher: Path, corpora: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _listen(teacher, corpora, tmp_path / "cache")
    shutil.rmtree(teacher)
    assert _listen(teacher, corpora, tmp_path / "cache").digest == first.digest
    assert "does not exist: using its embeddings in" in caplog.text


def test_a_teacher_removed_before_all_was_embedded(
    teacher: Path, corpora: list[Corpus], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such model"):
        _listen(tmp_path / "nowhere", corpora, tmp_path / "cache")
    _listen(teacher, corpora[:1], tmp_path / "cache")
    shutil.rmtree(teacher)
    with pytest.raises(InputError, match=r"4 of the 4 utterances of .*second, such as 'second-u0'"):
        _listen(teacher, corpora, tmp_path / "cache")
    with pytest.raises(InputError, match=r"5 of the 5 utterances of .*first"):
        _listen(teacher, corpora[:1], tmp_path / "cache", [Fraction(1), Fraction(11, 10)])


def test_utterances_that_the_teacher_cannot_embed_have_no_row(
    teacher: Path, corpora: list[Corpus], tmp_path: Path
) -> None:
    corpora[0].utterances[2].path.write_bytes(b"no audio")
    with pytest.raises(InputError, match="could not embed 1 of 5 utterances, such as 'u2'"):
        _listen(teacher, corpora, tmp_path / "cache")
    targets = _listen(teacher, corpora, tmp_path / "cache", share=0.3)
    assert not targets.rows_SNE[:, 2].any()
    assert targets.rows_SNE[:, [0, 1, 3, 4, 5, 6, 7, 8]].abs().amax(-1).all()


def test_no_teacher_is_named(corpora: list[Corpus], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a teacher"):
        teacher_embeddings(
            DistillConfig(), corpora, _SPEEDS, tmp_path / "cache", processes=_ALONE, max_missing_share=0.0
        )


def test_a_student_larger_than_its_teacher_is_allowed_with_a_warning(
    teacher: Path, corpora: list[Corpus], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--objective", "distill", "--teacher", str(teacher), "--out", str(tmp_path / "exp"), "--quiet"]
    settings = ["encoder.channels=32", "training.steps=2", "distill.num_prototypes=8", "distill.cache=null"]
    data = ["--data", str(corpora[0].directory)]
    arguments = ["train", *data, *options, *TINY, *settings]
    assert main(arguments) == 0
    assert "more than the 12,328 of its teacher" in caplog.text
    source = yaml.safe_load((tmp_path / "exp/model/config.yaml").read_text())["source"]
    assert source["objective"] == "distill" and source["teacher"].startswith("teacher ")


def test_a_teacher_without_its_objective_is_refused(
    teacher: Path, corpora: list[Corpus], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(corpora[0].directory), "--out", str(tmp_path / "exp")]
    assert main(["train", *data, "--teacher", str(teacher), *TINY]) == 2
    assert "distill.teacher is not used by objective=sdpn" in capsys.readouterr().err
    assert main(["train", *data, "--objective", "sdpn", *TINY, "crops.num_global=0"]) == 2
    assert "objective sdpn needs crops.num_global" in capsys.readouterr().err
