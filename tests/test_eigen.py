"""Eigenproblems: graphs with spectra known by formula, solvers that fail or lie, every kernel of OpenBLAS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse.linalg import ArpackError

from sdpn.eigen import generalised_eigenpairs, largest_eigenvalue, smallest_eigenpairs
from sdpn.errors import InputError
from tests.conftest import ROOT

#: What OpenBLAS calls its kernels, and what the processor must have to run them.
KERNELS = {
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"},
    "Cooperlake": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd", "avx512_bf16"},
    "Sapphirerapids": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd", "amx_bf16", "amx_tile"},
}

#: Of the clusterers' tests those where equal eigenvalues, ties and small differences decide.
INTERESTING = [
    "tests/test_eigen.py::test_the_smallest_eigenpairs_of_known_graphs",
    "tests/test_eigen.py::test_the_largest_eigenvalue_of_known_graphs",
    "tests/clustering/test_base.py::test_finds_the_number_of_speakers_and_who_they_are",
    "tests/clustering/test_base.py::test_identical_rows_are_one_speaker_unless_more_are_asked_for",
    "tests/clustering/test_base.py::test_labels_contract[nmesc]",
    "tests/clustering/test_base.py::test_labels_contract[spectral]",
    "tests/clustering/test_nmesc.py",
    "tests/clustering/test_spectral.py",
    "tests/verification/test_plda.py",
]


def laplacian(adjacency_NN: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.diag(adjacency_NN.sum(axis=1)) - adjacency_NN
    return result


def path(num: int) -> np.ndarray:
    return laplacian(np.eye(num, k=1) + np.eye(num, k=-1))


def ring(num: int) -> np.ndarray:
    nodes, adjacency = np.arange(num), np.zeros((num, num))
    adjacency[nodes, (nodes + 1) % num] = adjacency[(nodes + 1) % num, nodes] = 1.0
    return laplacian(adjacency)


def complete(num: int) -> np.ndarray:
    return num * np.eye(num) - 1.0


def product(*graphs: np.ndarray) -> np.ndarray:
    """Laplacian of a Cartesian product: its eigenvalues are all sums of one of each."""
    return reduce(lambda a, b: np.kron(a, np.eye(len(b))) + np.kron(np.eye(len(a)), b), graphs)


def beside(*blocks: np.ndarray) -> np.ndarray:
    """Graphs that are not connected, their nodes shuffled."""
    num = sum(map(len, blocks))
    whole, at = np.zeros((num, num)), 0
    for block in blocks:
        whole[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    order = np.random.default_rng(0).permutation(num)
    return whole[np.ix_(order, order)]


def ring_values(num: int) -> np.ndarray:
    values: np.ndarray = 2.0 - 2.0 * np.cos(2.0 * np.pi * np.arange(num) / num)
    return values


def complete_values(num: int) -> np.ndarray:
    return np.array([0.0] + [float(num)] * (num - 1))


#: Laplacians and their spectra (Brouwer and Haemers, "Spectra of graphs", 1.4).
GRAPHS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "one node": lambda: (np.zeros((1, 1)), np.zeros(1)),
    "no links": lambda: (np.zeros((30, 30)), np.zeros(30)),
    "path of 40": lambda: (path(40), 2.0 - 2.0 * np.cos(np.pi * np.arange(40) / 40)),
    "ring of 41, values in pairs": lambda: (ring(41), ring_values(41)),
    **{f"complete, {num}": (lambda num=num: (complete(num), complete_values(num))) for num in range(2, 31)},
    "complete, 600": lambda: (complete(600), complete_values(600)),
    "torus of 24 x 25, values in fours": lambda: (
        product(ring(24), ring(25)),
        np.add.outer(ring_values(24), ring_values(25)).ravel(),
    ),
    "hypercube, multiplicities 1, 10, 45, 120": lambda: (
        product(*[complete(2)] * 10),
        reduce(np.add.outer, [np.array([0.0, 2.0])] * 10).ravel(),
    ),
    "grid of complete graphs": lambda: (
        product(complete(30), path(25)),
        np.add.outer(complete_values(30), 2.0 - 2.0 * np.cos(np.pi * np.arange(25) / 25)).ravel(),
    ),
    "20 complete graphs, 20 values of 0": lambda: (
        beside(*(complete(15 + 2 * index) for index in range(20))),
        np.concatenate([complete_values(15 + 2 * index) for index in range(20)]),
    ),
    "two tori": lambda: (
        beside(product(ring(24), ring(25)), product(ring(24), ring(25))),
        np.tile(np.add.outer(ring_values(24), ring_values(25)).ravel(), 2),
    ),
}


@pytest.mark.parametrize("count", [1, 2, 21])
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_smallest_eigenpairs_of_known_graphs(graph: str, count: int) -> None:
    matrix, spectrum = GRAPHS[graph]()
    count = min(count, len(matrix))
    values, vectors = smallest_eigenpairs(matrix, count, seed=0)
    np.testing.assert_allclose(values, np.sort(spectrum)[:count], atol=1e-8)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-7)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-8)


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_largest_eigenvalue_of_known_graphs(graph: str) -> None:
    matrix, spectrum = GRAPHS[graph]()
    assert largest_eigenvalue(matrix, seed=0) == pytest.approx(spectrum.max(), abs=1e-8)


def test_of_equal_eigenvalues_the_larger_components_come_first() -> None:
    """Twice 0, and which nodes each belongs to does not depend on rounding."""
    matrix = beside(complete(5), complete(9), complete(7))
    _, vectors = smallest_eigenpairs(matrix, 3, seed=0)
    assert [int((np.abs(vectors[:, index]) > 1e-6).sum()) for index in range(3)] == [9, 7, 5]


def test_a_solver_that_fails_or_lies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = path(40)
    expected = 2.0 - 2.0 * np.cos(np.pi * np.arange(5) / 40)

    def fail(*_args: object, **_options: object) -> None:
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    for broken in (
        fail,
        lambda _: (np.arange(40.0), np.eye(40)),
        lambda a: (np.full(40, np.nan), a * np.nan),
    ):
        monkeypatch.setattr(np.linalg, "eigh", broken)
        np.testing.assert_allclose(smallest_eigenpairs(matrix, 5, seed=0)[0], expected, atol=1e-12)
    monkeypatch.setattr("scipy.linalg.eigh", fail)
    with pytest.raises(InputError, match=r"no solver gives a valid solution.*OPENBLAS_CORETYPE"):
        smallest_eigenpairs(matrix, 5, seed=0)


@pytest.mark.parametrize("kind", ["breaks down", "lies", "misses"])
def test_an_iteration_that_breaks_down_lies_or_misses_some(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scipy.sparse.linalg

    matrix, spectrum = GRAPHS["torus of 24 x 25, values in fours"]()
    real, missed = scipy.sparse.linalg.eigsh, []

    def eigsh(operator: object, k: int, **options: object) -> tuple[np.ndarray, np.ndarray]:
        if kind == "breaks down":
            raise ArpackError(3)
        values, vectors = real(operator, k=k + 3 if k > 1 else k, **options)
        if kind == "lies":
            return values[-k:], np.roll(vectors[:, -k:], 1, axis=0)
        if k > 1:  # leaves out the second to fourth
            missed.append(k)
            return np.delete(values, [-2, -3, -4]), np.delete(vectors, [-2, -3, -4], axis=1)
        return values, vectors

    monkeypatch.setattr(scipy.sparse.linalg, "eigsh", eigsh)
    values, vectors = smallest_eigenpairs(matrix, 12, seed=0)
    np.testing.assert_allclose(values, np.sort(spectrum)[:12], atol=1e-8)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-7)
    assert bool(missed) is (kind == "misses")


def test_generalised_eigenpairs_of_a_chosen_spectrum() -> None:
    """A = Sᵀ diag(ψ) S and B = Sᵀ S have ψ, also where some are equal and the units differ by 1e12."""
    rng = np.random.default_rng(0)
    psi = np.array([0.0, 0.0, 0.5, 2.0, 2.0, 2.0, 7.0, 11.0])
    for units in (np.ones(8), 10.0 ** np.linspace(-6, 6, 8), np.full(8, 1e-150)):
        mixing = rng.normal(size=(8, 8)) * units
        a, b = (mixing.T * psi) @ mixing, mixing.T @ mixing
        values, vectors = generalised_eigenpairs(a, b)
        np.testing.assert_allclose(values, psi, atol=1e-9)
        np.testing.assert_allclose(vectors.T @ b @ vectors, np.eye(8), atol=1e-9)


def test_generalised_eigenpairs_by_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    mixing = np.random.default_rng(1).normal(size=(6, 6))

    def fail(*_args: object, **_options: object) -> None:
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr("scipy.linalg.eigh", fail)
    values, _ = generalised_eigenpairs((mixing.T * np.arange(6.0)) @ mixing, mixing.T @ mixing)
    np.testing.assert_allclose(values, np.arange(6.0), atol=1e-10)


@pytest.mark.parametrize("b", [np.diag([1.0, 0.0]), np.ones((2, 2)), np.diag([1.0, -1.0])])
def test_a_covariance_that_is_not_definite_is_refused(b: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"not positive definite.*may be constant"):
        generalised_eigenpairs(np.eye(2), b)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    matrix = path(5)
    matrix[2, 2] = bad
    for solve in (
        lambda: smallest_eigenpairs(matrix, 2, seed=0),
        lambda: largest_eigenvalue(matrix, seed=0),
        lambda: generalised_eigenpairs(matrix, np.eye(5)),
        lambda: generalised_eigenpairs(np.eye(5), matrix),
    ):
        with pytest.raises(InputError, match="NaN or infinite"):
            solve()


#: Says which kernel each OpenBLAS of the process runs: numpy's and scipy's.
_ASK = """
import numpy, scipy.linalg, threadpoolctl
libraries = threadpoolctl.threadpool_info()
print(*sorted({library["architecture"] for library in libraries if library["internal_api"] == "openblas"}))
"""


def running(kernel: str) -> str:
    """What runs where ``kernel`` is asked for: the library chooses when it loads."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        env={**os.environ, "OPENBLAS_CORETYPE": kernel},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "kernel",
    [
        "Haswell",
        pytest.param("SkylakeX", marks=pytest.mark.slow),
        pytest.param("Zen", marks=pytest.mark.slow),
        pytest.param("Nehalem", marks=pytest.mark.slow),
        pytest.param("Sandybridge", marks=pytest.mark.slow),
        pytest.param("Cooperlake", marks=pytest.mark.slow),
        pytest.param("Sapphirerapids", marks=pytest.mark.slow),
    ],
)
def test_clusterers_under_every_kernel_of_openblas(kernel: str) -> None:
    """Never one whose instructions the processor lacks; nor one twice, which a build may give two names."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("there is no /proc/cpuinfo to ask for the processor's instructions")
    if missing := KERNELS[kernel] - set(cpuinfo.read_text().split()):
        pytest.skip(f"the processor has no {', '.join(sorted(missing))}")
    runs = running(kernel)
    if runs == running(""):
        pytest.skip(f"{runs or 'a BLAS that is not OpenBLAS'} runs in all other tests")
    if runs != kernel:
        pytest.skip(f"this OpenBLAS runs {runs} for it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *INTERESTING],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_CORETYPE": kernel},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
