"""Linking: blocks, components and stages give what the whole matrix gives; an archive is read and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdpn.clustering.linkage import components, merge_tree
from sdpn.errors import InputError
from sdpn.extraction.shard import Shard
from sdpn.linking import link as module
from sdpn.linking.archive import estimated_error
from sdpn.linking.link import Links, link, score_shard
from sdpn.linking.scores import PairScores, ScoreModel, fit_scores
from sdpn.linking.speakers import find_documents, read_speakers
from sdpn.verification.back_end import BackEnd
from sdpn.verification.plda import Plda

DIM = 24


def back_end(seed: int = 0) -> BackEnd:
    rng = np.random.default_rng(seed)
    return BackEnd(
        mean_D=np.zeros(DIM),
        plda=Plda(np.zeros(DIM), np.eye(DIM) * 4.0, np.full(DIM, 3.0)),
        cohort_CD=rng.standard_normal((200, DIM)),
        top=50,
        strangers_Q=np.linspace(-3, 3, 11),
    )


def archive(
    num_people: int, recordings: int, per_recording: int, *, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of appearances, their recordings, and the people."""
    rng = np.random.default_rng(seed)
    voices = rng.standard_normal((num_people, DIM))
    people = np.concatenate([rng.permutation(num_people)[:per_recording] for _ in range(recordings)])
    emb_ND = voices[people] + noise * rng.standard_normal((len(people), DIM))
    return emb_ND, np.repeat(np.arange(recordings), per_recording), people


def pairs(labels: np.ndarray) -> set[tuple[int, int]]:
    same = labels[:, None] == labels
    return set(zip(*(side.tolist() for side in np.nonzero(np.triu(same, 1))), strict=True))


def whole(emb_ND: np.ndarray, recording_N: np.ndarray, threshold: float) -> np.ndarray:
    """Average linkage of the whole matrix."""
    distance = -PairScores(emb_ND, back_end()).between(slice(None), slice(None)).astype(np.float64)
    distance[recording_N[:, None] == recording_N] = 1e6
    edges, heights = merge_tree(distance, np.ones(len(emb_ND)), "average")
    return components(edges[heights <= -threshold], len(emb_ND))


@pytest.mark.parametrize("noise", [0.3, 0.7])
def test_blocks_give_what_the_matrix_gives(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdpn.linking.scores._CELLS", 700)  # blocks of a few rows
    emb_ND, recording_N, _ = archive(20, 25, 4, noise=noise)
    model = ScoreModel(strangers=(0.0, 1.0), same=(5.0, 1.5), share=0.03)
    for threshold in (1.0, 2.5):
        found = link(emb_ND, recording_N, back_end(), model, threshold=threshold)
        assert pairs(found.person_N) == pairs(whole(emb_ND, recording_N, threshold))


def test_scores_are_those_of_the_back_end() -> None:
    emb_ND, _, _ = archive(10, 5, 4, noise=0.5)
    scores, (first, second) = PairScores(emb_ND, back_end()), np.triu_indices(len(emb_ND), 1)
    expected = back_end().score(emb_ND, first, second)
    np.testing.assert_allclose(scores.of_pairs(first, second), expected, rtol=1e-4, atol=1e-4)
    matrix = scores.between(slice(None), slice(None))
    np.testing.assert_allclose(matrix[first, second], expected, rtol=1e-4, atol=1e-4)


def test_people_are_found_and_the_error_is_estimated() -> None:
    emb_ND, recording_N, people = archive(24, 40, 4, noise=0.5, seed=3)
    model = fit_scores(PairScores(emb_ND, back_end()), recording_N)
    found = link(emb_ND, recording_N, back_end(), model)
    true, linked = pairs(people), pairs(found.person_N)
    precision, recall = len(true & linked) / len(linked), len(true & linked) / len(true)
    assert precision > 0.9 and recall > 0.9
    assert found.precision == pytest.approx(precision, abs=0.1)
    assert found.recall == pytest.approx(recall, abs=0.1)


@pytest.mark.parametrize("most", [10**9, 900])
def test_missed_links_are_those_of_a_plain_sum(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every unlinked pair of two recordings, by loops; a part of the persons stands for all."""
    monkeypatch.setattr(module, "_MISSED_PAIRS", most)
    emb_ND, recording_N, _ = archive(14, 18, 4, noise=0.9, seed=7)
    scores = PairScores(emb_ND, back_end())
    model = ScoreModel(strangers=(0.0, 1.0), same=(4.0, 1.5), share=0.05)
    person_N = link(emb_ND, recording_N, back_end(), model, threshold=3.0).person_N
    matrix = scores.between(slice(None), slice(None)).astype(np.float64)
    expected = 0.0
    for one in range(len(emb_ND)):
        for other in range(one):
            if person_N[one] != person_N[other] and recording_N[one] != recording_N[other]:
                with_other = matrix[one, person_N == person_N[other]].mean()
                with_one = matrix[other, person_N == person_N[one]].mean()
                both = 0.5 * (with_other + with_one)
                expected += float(model.posterior(np.array([both]))[0]) if both > 0.0 else 0.0
    found = module._missed_links(person_N, scores, recording_N, model)
    assert found == pytest.approx(expected, rel=1e-4 if most > 900 else 0.6)


def test_speakers_who_are_too_short_are_missed(tmp_path: Path) -> None:
    rows = [np.eye(3)[k].tolist() for k in (0, 1, 2)]
    speakers = read_speakers([document(tmp_path / f"{name}.json", name, rows) for name in "abc"])
    links = Links(person_N=np.arange(6), threshold=2.0, expected_links=6.0, precision=0.9, recall=0.8)
    chosen = np.array([0, 1, 3, 4, 6, 7])  # 12 of the 27 pairs of two recordings
    recall = 0.8 * 12 / 27
    assert estimated_error(links, speakers, chosen) == {
        "precision": 0.9,
        "recall": pytest.approx(recall, abs=1e-4),
        "f1": pytest.approx(2 * 0.9 * recall / (0.9 + recall), abs=1e-4),
    }
    assert estimated_error(None, speakers, chosen) == {"precision": None, "recall": None, "f1": None}


def test_two_of_one_recording_are_never_one() -> None:
    emb_ND = np.tile(np.random.default_rng(0).standard_normal(DIM), (4, 1))
    emb_ND = emb_ND + 1e-3 * np.arange(4)[:, None]
    model = ScoreModel(strangers=(0.0, 1.0), same=(5.0, 1.5), share=0.1)
    found = link(emb_ND, np.array([0, 0, 1, 1]), back_end(), model, threshold=1.0)
    assert len(set(found.person_N.tolist())) == 2
    assert found.person_N[0] != found.person_N[1] and found.person_N[2] != found.person_N[3]


def test_a_large_component_is_linked_in_two_stages() -> None:
    emb_ND, recording_N, people = archive(12, 30, 4, noise=0.3, seed=5)
    model = fit_scores(PairScores(emb_ND, back_end()), recording_N)
    low = -4.0  # nearly everything is connected
    found = link(emb_ND, recording_N, back_end(), model, threshold=model.threshold, most_at_once=40)
    assert pairs(found.person_N) == pairs(people)
    two = link(emb_ND, recording_N, back_end(), model, threshold=low, most_at_once=60)
    assert pairs(two.person_N) >= pairs(people) or len(pairs(two.person_N) & pairs(people)) > 0.9 * len(
        pairs(people)
    )


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdpn.linking.scores._CELLS", 1000)
    emb_ND, recording_N, _ = archive(20, 25, 4, noise=0.5)
    model = fit_scores(PairScores(emb_ND, back_end()), recording_N)
    expected = link(emb_ND, recording_N, back_end(), model)
    seen: list[int] = []

    class Killed(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        if len(seen) == 4:
            raise Killed

    options = {"progress_file": tmp_path / "progress.npz"}
    with pytest.raises(Killed):
        link(emb_ND, recording_N, back_end(), model, on_progress=stop, **options)
    again: list[int] = []
    found = link(emb_ND, recording_N, back_end(), model, on_progress=lambda n, _: again.append(n), **options)
    assert again[0] > seen[-1]  # what was done is not done again
    np.testing.assert_array_equal(found.person_N, expected.person_N)
    assert found.expected_links == expected.expected_links
    # another archive does not go on from it
    fresh: list[int] = []
    link(
        emb_ND[::-1],
        recording_N[::-1],
        back_end(),
        model,
        on_progress=lambda n, _: fresh.append(n),
        **options,
    )
    assert fresh[0] == seen[0]


def document(path: Path, recording: str, embeddings: list[list[float]] | None, weights: str = "w") -> Path:
    speakers = [
        {"speaker": f"speaker{k:02d}", "talk_s": 10.0, **({} if embeddings is None else {"embedding": row})}
        for k, row in enumerate(embeddings or [[1.0]])
    ]
    turns = [{"start_s": k, "end_s": k + 1, "speaker": one["speaker"]} for k, one in enumerate(speakers)]
    content = {
        "schema": "sdpn.turns/1",
        "recording": recording,
        "duration_s": 20.0,
        "speakers": speakers,
        "turns": turns,
        "receipt": {"model": {"path": "fast", "format": None, "weights": weights}},
    }
    path.write_text(json.dumps(content))
    return path


def test_documents_of_a_folder(tmp_path: Path) -> None:
    document(tmp_path / "a.json", "a", [[1.0, 0.0], [0.0, 1.0]])
    document(tmp_path / "b.json", "b", [[1.0, 0.5]])
    (tmp_path / "other.json").write_text('{"schema": "sdpn.words/1"}')
    found = read_speakers(find_documents([tmp_path]))
    assert found.recordings == ["a", "b"] and found.recording_N.tolist() == [0, 0, 1]
    assert found.emb_ND.tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.5]] and found.model == "fast"


def test_documents_that_cannot_be_linked(tmp_path: Path) -> None:
    first = document(tmp_path / "a.json", "a", [[1.0, 0.0]])
    for other, message in (
        (document(tmp_path / "n.json", "n", None), r"n\.json: has no embeddings.*--embeddings"),
        (document(tmp_path / "t.json", "a", [[1.0, 0.0]]), r"t\.json: recording 'a' is also in .*a\.json"),
        (document(tmp_path / "w.json", "w", [[1.0, 0.0]], "v"), r"w\.json: was made with fast.*one model"),
        (document(tmp_path / "d.json", "d", [[1.0]]), "embeddings of 2 and of 1 dimensions"),
        (document(tmp_path / "z.json", "z", [[0.0, 0.0]]), "the embedding of 'speaker00' is none"),
    ):
        with pytest.raises(InputError, match=message):
            read_speakers([first, other])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no JSON document of turns"):
        find_documents([tmp_path / "empty"])


def test_limits_are_those_of_the_docs() -> None:
    assert module.MOST_AT_ONCE == 20_000


def test_shards_give_what_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdpn.linking.scores._CELLS", 700)
    emb_ND, recording_N, _ = archive(12, 20, 4, noise=0.5)
    model = fit_scores(PairScores(emb_ND, back_end()), recording_N)
    one = link(emb_ND, recording_N, back_end(), model)
    parts = [tmp_path / f"{index}.npz" for index in range(3)]
    sizes = [
        score_shard(emb_ND, recording_N, back_end(), model, Shard(index, 3).of, path)
        for index, path in enumerate(parts)
    ]
    assert sum(sizes) == len(list(PairScores(emb_ND, back_end()).blocks())) and len(set(sizes)) == 2
    many = link(emb_ND, recording_N, back_end(), model, parts=parts)
    np.testing.assert_array_equal(one.person_N, many.person_N)
    assert (one.expected_links, one.precision, one.recall) == (
        many.expected_links,
        many.precision,
        many.recall,
    )
    with pytest.raises(InputError, match="blocks of the comparisons are missing"):
        link(emb_ND, recording_N, back_end(), model, parts=parts[:2])
    score_shard(emb_ND, recording_N, back_end(), model, Shard(1, 4).of, tmp_path / "twice.npz")
    with pytest.raises(InputError, match=r"twice.npz: block \d+ of the comparisons is also in"):
        link(emb_ND, recording_N, back_end(), model, parts=[*parts, tmp_path / "twice.npz"])
    with pytest.raises(InputError, match="made of other documents"):
        link(emb_ND[:-1], recording_N[:-1], back_end(), model, parts=parts)
    parts[0].write_bytes(parts[0].read_bytes()[:-20])
    with pytest.raises(InputError, match="is not the part of a shard"):
        link(emb_ND, recording_N, back_end(), model, parts=parts)
