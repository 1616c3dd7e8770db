"""Eigenvalue problems of the clusterers and of PLDA, with verified solutions.

Two usual solvers fail on spectra with many equal eigenvalues, which speaker graphs have. They fail by
rounding errors, so that the affected inputs depend on the processor:

- LAPACK's bisection (``dsyevr`` and ``dsyevx`` of part of a spectrum) finds no eigenvalue at all where
  eigenvalues coincide, as those of a complete graph do (Reference-LAPACK issue 466).
- Lanczos' iteration (ARPACK) from one start vector sees one copy of a multiple eigenvalue; rounding brings in
  the others, or does not. It returns true eigenpairs, but not all of the smallest, which residuals cannot
  reveal.

Hence: dense problems are solved whole, by divide and conquer; graphs fall into their connected components
first, each of which adds an eigenvalue 0; and after ARPACK the rest of the spectrum is searched for missed
eigenvalues.

Shapes: N rows of a matrix, C rows of a connected component, M eigenpairs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from sdpn.errors import InputError

logger = logging.getLogger(__name__)

#: Size up to which the dense solver takes less than 0.1 s and is always used.
_DENSE_ROWS = 500

#: Largest residual and departure from orthogonality, as a share of the matrix' norm. A solver that works
#: keeps 1e-12; one that does not is far off.
_TOLERANCE = 1e-8

#: Maximum number of missed eigenvalues to search for individually; beyond, the dense solver is faster.
_MISSED = 4

Pairs = tuple[np.ndarray, np.ndarray]


def smallest_eigenpairs(matrix_NN: np.ndarray, count: int, *, seed: int) -> Pairs:
    """Smallest eigenvalues of a symmetric matrix, and their eigenvectors.

    Args:
        matrix_NN: symmetric (N, N); a sparse one, such as the Laplacian of a pruned graph, is solved as such.
        count: M, from 1 to N.
        seed: of the iteration's start, where there is one.

    Returns:
        eigenvalues (M,), ascending, and vectors (N, M) of length 1, each on one connected component; of equal
        eigenvalues those of larger components come first.

    Raises:
        InputError: the matrix contains NaN or infinite values, or no solver gives a valid solution.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    _check_finite(matrix_NN)
    num_components, component_N = connected_components(csr_array(matrix_NN), directed=False)
    values, vectors, sizes = [], [], []
    for component in range(num_components):
        (rows_C,) = np.nonzero(component_N == component)
        part_CC = matrix_NN if num_components == 1 else matrix_NN[np.ix_(rows_C, rows_C)]
        values_M, vectors_CM = _smallest_of_component(part_CC, min(count, len(rows_C)), seed)
        vectors_NM = np.zeros((len(matrix_NN), len(values_M)))
        vectors_NM[rows_C] = vectors_CM
        values.append(values_M)
        vectors.append(vectors_NM)
        sizes.append(np.full(len(values_M), len(rows_C)))
    all_M = np.concatenate(values)
    # rounded, so that the order of equal eigenvalues does not depend on the last bits
    order_M = np.lexsort((-np.concatenate(sizes), np.round(all_M / _norm(matrix_NN), 9)))[:count]
    return all_M[order_M], np.concatenate(vectors, axis=1)[:, order_M]


def largest_eigenvalue(matrix_NN: np.ndarray, *, seed: int) -> float:
    """Largest eigenvalue of a symmetric matrix (N, N).

    Raises:
        InputError: as in `smallest_eigenpairs`.
    """
    _check_finite(matrix_NN)
    if len(matrix_NN) > _DENSE_ROWS:
        from scipy.sparse import csr_array

        pairs = _arpack(csr_array(matrix_NN), 1, seed)
        if pairs is not None and _is_right(matrix_NN, *pairs):
            return float(pairs[0][0])
    return float(_dense(matrix_NN)[0][-1])


def generalised_eigenpairs(a_DD: np.ndarray, b_DD: np.ndarray) -> Pairs:
    """All solutions of A v = ψ B v, of symmetric A and positive definite B.

    Returns:
        ψ (D,), ascending, and vectors (D, D) with vᵀ B v = 1.

    Raises:
        InputError: B is not positive definite, values are not finite, or no solver gives a valid solution.
    """
    from scipy.linalg import eigh

    _check_finite(a_DD)
    units_D, b_DD, spread_D, axes_DD = _of_unit_diagonal(b_DD)
    a_DD = a_DD * units_D[:, None] * units_D

    def whitened() -> Pairs:
        white_DD = axes_DD / np.sqrt(spread_D)
        psi_D, rotated_DD = _dense(white_DD.T @ a_DD @ white_DD)
        return psi_D, white_DD @ rotated_DD

    def is_right(psi_D: np.ndarray, vectors_DD: np.ndarray) -> bool:
        sizes_D = np.maximum(np.abs(psi_D), _norm(a_DD))
        residual_DD = a_DD @ vectors_DD - (b_DD @ vectors_DD) * psi_D
        gram_DD = vectors_DD.T @ b_DD @ vectors_DD
        condition = spread_D[-1] / spread_D[0]
        return bool(
            np.abs(gram_DD - np.eye(len(gram_DD))).max() <= _TOLERANCE * condition
            and (
                np.abs(residual_DD) <= _TOLERANCE * condition * sizes_D * np.abs(vectors_DD).max(axis=0)
            ).all()
        )

    psi_D, vectors_DD = _first_right([lambda: eigh(a_DD, b_DD), whitened], is_right)
    return psi_D, vectors_DD * units_D[:, None]


def check_definite(covariance_DD: np.ndarray) -> None:
    """Reject a covariance that is not positive definite.

    Raises:
        InputError: it is not, or contains NaN or infinite values.
    """
    _of_unit_diagonal(covariance_DD)


def _of_unit_diagonal(matrix_DD: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Units (D,) that make the diagonal 1, the matrix in them, its eigenvalues and its eigenvectors.

    So neither checks nor solvers depend on the units of the dimensions.
    """
    _check_finite(matrix_DD)
    scales_D = np.diag(matrix_DD)
    if not (scales_D > 0.0).all():
        raise _not_definite()
    units_D = 1.0 / np.sqrt(scales_D)
    matrix_DD = matrix_DD * units_D[:, None] * units_D
    spread_D, axes_DD = _dense(matrix_DD)
    if not spread_D[0] > 1e-14 * spread_D[-1]:
        raise _not_definite()
    return units_D, matrix_DD, spread_D, axes_DD


def _smallest_of_component(matrix_CC: np.ndarray, count: int, seed: int) -> Pairs:
    num_rows = len(matrix_CC)
    if num_rows > _DENSE_ROWS and 10 * count <= num_rows:
        # A pruned graph is sparse, and its few smallest eigenvalues are ARPACK's largest of I - L: 2,500
        # windows take 0.2 s where the dense solver takes 13 s
        pairs = _sparse(matrix_CC, count, seed)
        if pairs is not None and _is_right(matrix_CC, *pairs):
            return pairs
        logger.debug("eigenproblem of %d rows: the iteration failed, solving it densely", num_rows)
    values_C, vectors_CC = _dense(matrix_CC)
    return values_C[:count], vectors_CC[:, :count]


def _sparse(matrix_CC: np.ndarray, count: int, seed: int) -> Pairs | None:
    """The smallest eigenpairs by iteration, with none missing; None if that fails."""
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.linalg import LinearOperator

    num_rows = len(matrix_CC)
    shifted = eye_array(num_rows, format="csr") - csr_array(matrix_CC)
    found = _arpack(shifted, count, seed)
    if found is None:
        return None
    theta_M, vectors_CM = found
    norm = 1.0 + _norm(matrix_CC)
    for attempt in range(1, _MISSED + 2):
        # deflation: found eigenvalues are moved to the bottom of the spectrum
        moved_M, kept_CM = theta_M + norm, vectors_CM

        def others(x: np.ndarray, moved_M: np.ndarray = moved_M, kept_CM: np.ndarray = kept_CM) -> np.ndarray:
            left: np.ndarray = shifted @ x - kept_CM @ (moved_M * (kept_CM.T @ x))
            return left

        operator = LinearOperator((num_rows, num_rows), matvec=others, dtype=np.float64)
        best = _arpack(operator, 1, seed + attempt, tolerance=1e-5)
        if best is None:
            return None
        if best[0][0] <= theta_M.min() + 1e-5 * norm:
            order_M = np.argsort(-theta_M)
            return 1.0 - theta_M[order_M], vectors_CM[:, order_M]
        best = _arpack(operator, 1, seed + attempt)
        if best is None:
            return None
        order_M = np.argsort(-np.append(theta_M, best[0]))[:count]
        theta_M = np.append(theta_M, best[0])[order_M]
        vectors_CM = np.concatenate([vectors_CM, best[1]], axis=1)[:, order_M]
    return None


def _arpack(operator: object, count: int, seed: int, tolerance: float = 0.0) -> Pairs | None:
    """Largest eigenpairs, or None where the iteration breaks down or does not converge.

    The start vector is seeded, and random since a constant one is an eigenvector of every regular graph.
    """
    from scipy.sparse.linalg import ArpackError, eigsh

    num_rows = operator.shape[0]  # type: ignore[attr-defined]
    start_C = np.random.default_rng(seed).uniform(-1.0, 1.0, num_rows)
    try:
        values_M, vectors_CM = eigsh(operator, k=count, which="LA", v0=start_C, tol=tolerance)
    except ArpackError:
        return None
    return values_M, vectors_CM


def _dense(matrix_NN: np.ndarray) -> Pairs:
    """All eigenpairs: divide and conquer of numpy's LAPACK, else QR iterations of scipy's own LAPACK."""
    from scipy.linalg import eigh

    return _first_right(
        [lambda: np.linalg.eigh(matrix_NN), lambda: eigh(matrix_NN, driver="ev")],
        lambda values_M, vectors_NM: _is_right(matrix_NN, values_M, vectors_NM),
    )


def _first_right(solvers: list[Callable[[], Pairs]], is_right: Callable[..., bool]) -> Pairs:
    for solver in solvers:
        try:
            values_M, vectors_NM = solver()
        except np.linalg.LinAlgError:
            continue
        if is_right(values_M, vectors_NM):
            return values_M, vectors_NM
    raise InputError(
        "an eigenvalue problem could not be solved: no solver gives a valid solution",
        hint="numpy or scipy may be broken on this machine; set OPENBLAS_CORETYPE=Haswell and try again",
    )


def _is_right(matrix_NN: np.ndarray, values_M: np.ndarray, vectors_NM: np.ndarray) -> bool:
    """Whether these are orthogonal eigenpairs."""
    residual_NM = matrix_NN @ vectors_NM - vectors_NM * values_M
    gram_MM = vectors_NM.T @ vectors_NM
    return bool(
        np.abs(residual_NM).max() <= _TOLERANCE * _norm(matrix_NN)  # NaN is not
        and np.abs(gram_MM - np.eye(len(gram_MM))).max() <= _TOLERANCE
    )


def _norm(matrix_NN: np.ndarray) -> float:
    """Bound of all eigenvalues' magnitudes: the largest sum of a row's; 1 for the zero matrix."""
    return float(np.abs(matrix_NN).sum(axis=1).max()) or 1.0


def _check_finite(matrix_NN: np.ndarray) -> None:
    if not np.isfinite(matrix_NN).all():
        raise InputError("a matrix for an eigenvalue problem contains NaN or infinite values")


def _not_definite() -> InputError:
    return InputError(
        "the covariance of the embeddings within speakers is not positive definite",
        hint="some dimensions of the embeddings may be constant or linearly dependent",
    )
