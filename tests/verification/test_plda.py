"""PLDA: scores against the Gaussians that define them, training on embeddings of a known model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sdpn.clustering.agglomerative import Agglomerative
from sdpn.clustering.vbx import Vbx
from sdpn.errors import InputError
from sdpn.verification.plda import (
    Plda,
    from_covariances,
    read_plda,
    train_plda,
    train_plda_of_parts,
    write_plda,
)


def covariances(dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mean, a B and a W without any symmetry."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(2, dimension, dimension))
    between, within = (root @ root.T / dimension for root in roots)
    return rng.normal(size=dimension), between + 0.2 * np.eye(dimension), within + 0.2 * np.eye(dimension)


def embeddings(
    mean: np.ndarray, between: np.ndarray, within: np.ndarray, counts: list[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(len(counts)), counts)
    y = rng.multivariate_normal(mean, between, size=len(counts))
    return y[speakers] + rng.multivariate_normal(np.zeros(len(mean)), within, size=len(speakers)), speakers


@pytest.mark.parametrize("seed", range(3))
def test_score_is_the_ratio_of_the_two_gaussians(seed: int) -> None:
    mean, between, within = covariances(4, seed)
    plda = from_covariances(mean, between, within)
    first, second = np.random.default_rng(seed).normal(size=(2, 5, 4))
    together = np.block([[between + within, between], [between, between + within]])
    same = multivariate_normal(np.concatenate([mean, mean]), together)
    alone = multivariate_normal(mean, between + within)
    expected = [
        [same.logpdf(np.concatenate([x, z])) - alone.logpdf(x) - alone.logpdf(z) for z in second]
        for x in first
    ]
    np.testing.assert_allclose(plda.score(first, second), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(plda.similarity(first).matrix(), plda.score(first, first), atol=1e-12)


def test_distances_in_the_speaker_space_match_the_plda() -> None:
    """Pairs with one sum: the rest of the ratio is the same for all of them."""
    plda = from_covariances(*covariances(4, 1))
    middle, *apart = np.random.default_rng(2).normal(size=(6, 4))
    first, second = middle + np.stack(apart), middle - np.stack(apart)
    ratios = np.diag(plda.score(first, second))
    squares = ((plda.speaker_space(first) - plda.speaker_space(second)) ** 2).sum(1)
    np.testing.assert_allclose(np.diff(ratios), -0.25 * np.diff(squares))


def test_the_speaker_space_forgets_directions_in_which_speakers_are_alike() -> None:
    plda = from_covariances(np.zeros(2), np.diag([1e6, 1e-6]), np.eye(2))
    np.testing.assert_allclose(np.abs(plda.speaker_space(np.array([[3.0, 5.0]]))), [[3.0, 0.005]], rtol=1e-5)


def test_parts_of_utterances_are_all_that_training_needs() -> None:
    """As many utterances as speakers, and directions as in the model that made them, whatever the lengths."""
    between, within = np.diag([4.0, 1.0, 0.25]), np.diag([0.25, 0.25, 1.0])
    emb, speakers = embeddings(np.array([20.0, 0, 0]), between / 100, within / 100, [2] * 4000, seed=0)
    parts = emb.reshape(4000, 2, 3)
    assert (speakers.reshape(4000, 2) == np.arange(4000)[:, None]).all()
    plda = train_plda_of_parts(parts, mean_D=np.zeros(3))
    reference = train_plda(emb / np.linalg.norm(emb, axis=1, keepdims=True), speakers)
    np.testing.assert_allclose(plda.psi_E, reference.psi_E)
    joined = train_plda_of_parts(parts, np.zeros(3), np.arange(4000) // 2)
    assert joined.psi_E[0] < 0.7 * plda.psi_E[0]  # two voices under one name differ within it


def test_the_transform_diagonalises_both_covariances() -> None:
    mean, between, within = covariances(5, 0)
    plda = from_covariances(mean, between, within)
    np.testing.assert_allclose(plda.transform_ED @ within @ plda.transform_ED.T, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(
        plda.transform_ED @ between @ plda.transform_ED.T, np.diag(plda.psi_E), atol=1e-10
    )
    assert (np.diff(plda.psi_E) <= 0).all()


def test_diagonalising_again_changes_no_score_and_keeps_the_most_informative_directions() -> None:
    mean, between, within = covariances(5, 1)
    plda = from_covariances(mean, between, within)
    shuffled = Plda(mean, plda.transform_ED[[3, 0, 4, 1, 2]], plda.psi_E[[3, 0, 4, 1, 2]])
    again = shuffled.rediagonalised()
    rows = np.random.default_rng(0).normal(size=(6, 5))
    np.testing.assert_allclose(again.score(rows, rows), plda.score(rows, rows), atol=1e-9)
    np.testing.assert_allclose(again.psi_E, plda.psi_E)
    np.testing.assert_allclose(shuffled.rediagonalised(2).psi_E, plda.psi_E[:2])
    assert shuffled.rediagonalised(99).project(rows).shape == (6, 5)
    with pytest.raises(ValueError, match="were dropped"):
        shuffled.rediagonalised(2).rediagonalised()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shrinking_moves_both_covariances_towards_multiples_of_the_identity(share: float) -> None:
    mean, between, within = covariances(5, 1)
    rows = np.random.default_rng(0).normal(size=(6, 5))
    expected = from_covariances(
        mean,
        (1 - share) * between + share * np.diag(np.full(5, np.diag(between).mean())),
        (1 - share) * within + share * np.diag(np.full(5, np.diag(within).mean())),
    )
    found = from_covariances(mean, between, within).shrunk(share)
    np.testing.assert_allclose(found.score(rows, rows), expected.score(rows, rows), atol=1e-9)


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_shrinking_beyond_the_identity(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie"):
        from_covariances(*covariances(3, 1)).shrunk(share)


def test_training_finds_the_model_that_made_the_embeddings() -> None:
    mean, between, within = covariances(3, 2)
    counts = np.random.default_rng(0).integers(1, 9, size=3000).tolist()
    emb, speakers = embeddings(mean, between, within, counts, seed=3)
    plda = train_plda(emb, speakers, iterations=50)
    inverse = np.linalg.inv(plda.transform_ED)
    np.testing.assert_allclose(plda.mean_D, mean, atol=0.1)
    np.testing.assert_allclose(inverse @ inverse.T, within, atol=0.05)
    np.testing.assert_allclose(inverse @ np.diag(plda.psi_E) @ inverse.T, between, atol=0.12)


def test_training_raises_the_likelihood() -> None:
    """The likelihood of a speaker's embeddings is that of one long Gaussian vector."""
    mean, between, within = covariances(3, 4)
    emb, speakers = embeddings(mean, between, within, [2, 3, 4, 5] * 10, seed=5)

    def log_likelihood(plda: Plda) -> float:
        inverse = np.linalg.inv(plda.transform_ED)
        b, w = inverse @ np.diag(plda.psi_E) @ inverse.T, inverse @ inverse.T
        total = 0.0
        for speaker in set(speakers):
            rows = emb[speakers == speaker]
            count = len(rows)
            covariance = np.kron(np.ones((count, count)), b) + np.kron(np.eye(count), w)
            total += multivariate_normal(np.tile(plda.mean_D, count), covariance).logpdf(rows.ravel())
        return total

    values = [log_likelihood(train_plda(emb, speakers, iterations=n)) for n in (0, 1, 2, 5, 20, 100)]
    assert (np.diff(values) > -1e-9).all()


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ([0] * 10, "10 embeddings of 1 speakers"),
        (range(10), "10 embeddings of 10"),
        ([0, 1] * 5, "too few for a covariance"),
    ],
)
def test_too_little_to_train_on(speakers: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_plda(np.random.default_rng(0).normal(size=(10, 9)), np.array(speakers))


@pytest.mark.parametrize("binary", [True, False])
def test_written_plda_reads_back(binary: bool, tmp_path: Path) -> None:
    plda = from_covariances(*covariances(6, 0))
    write_plda(tmp_path / "plda", plda, binary=binary)
    again = read_plda(tmp_path / "plda")
    for ours, theirs in ((plda.mean_D, again.mean_D), (plda.transform_ED, again.transform_ED)):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(plda.psi_E, again.psi_E)


def test_another_dimension_is_named() -> None:
    plda = from_covariances(*covariances(4, 0))
    with pytest.raises(InputError, match="the PLDA has 4 dimensions, but the embeddings have 5"):
        plda.project(np.ones((2, 5)))


def test_ahc_with_plda_is_average_linkage_of_its_scores() -> None:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import adjusted_rand_score

    model = covariances(8, 6)
    plda = from_covariances(*model)
    emb, _ = embeddings(*model, [20] * 4, seed=7)
    scores = plda.score(emb, emb)
    tree = linkage(squareform(scores.max() - scores, checks=False), "average")
    for threshold in (-3.0, 0.0, 2.5):
        expected = fcluster(tree, scores.max() - threshold, "distance")
        ours = Agglomerative(plda=plda, threshold=threshold).fit_predict(emb)
        assert adjusted_rand_score(expected, ours.labels_N) == 1.0
    with pytest.raises(ValueError, match="ward"):
        Agglomerative(plda=plda, linkage="ward")


@pytest.mark.parametrize("exponent", [-900, -300, 40, 900])
def test_the_scale_of_the_embeddings_changes_no_bit_of_a_score(exponent: int) -> None:
    """A power of two, up to where the transform is a number no more."""
    rows, speakers = embeddings(*covariances(5, 0), counts=[8] * 20, seed=0)
    plain, scaled = train_plda(rows, speakers), train_plda(np.ldexp(rows, exponent), speakers)
    np.testing.assert_array_equal(scaled.psi_E, plain.psi_E)
    np.testing.assert_array_equal(
        scaled.score(np.ldexp(rows[:9], exponent), np.ldexp(rows[:9], exponent)),
        plain.score(rows[:9], rows[:9]),
    )


@pytest.mark.parametrize("kind", ["constant", "twice the same", "a sum of others", "one value of 1e200"])
def test_dimensions_that_do_not_vary_or_depend_on_others(kind: str) -> None:
    rows, speakers = embeddings(*covariances(5, 0), counts=[8] * 20, seed=0)
    if kind == "constant":
        rows[:, 2] = 1.0
    elif kind == "twice the same":
        rows[:, 2] = rows[:, 3]
    elif kind == "a sum of others":
        rows[:, 2] = rows[:, 3] + rows[:, 4]
    else:
        rows[7, 2] = 1e200
    with pytest.raises(InputError, match=r"not positive definite|cannot be inverted"):
        train_plda(rows, speakers)


@pytest.mark.parametrize("huge", [1e160, 1.7e308, -1e300])
def test_a_value_out_of_all_proportion_is_named(huge: float) -> None:
    rows, speakers = embeddings(*covariances(5, 0), counts=[8] * 20, seed=0)
    plda = train_plda(rows, speakers)
    rows[7, 2] = huge
    for use in (
        plda.project,
        plda.similarity,
        Agglomerative(plda=plda).fit_predict,
        Vbx(plda=plda).fit_predict,
    ):
        with pytest.raises(InputError, match="the embedding in row 7 is far outside the range of the PLDA"):
            use(rows)
    rows[7, 2] = 3e38  # far, but a number
    assert np.isfinite(plda.score(rows, rows)).all()
    posteriors = Vbx(plda=plda).fit_predict(rows).posteriors_NK
    assert posteriors is None or np.isfinite(posteriors).all()
