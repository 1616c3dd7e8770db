"""Two-covariance PLDA: log-likelihood ratios of "same speaker" for two embeddings.

An embedding is x = y + e with a speaker's y ~ N(mean, B) and e ~ N(0, W). One linear map makes W the
identity and B diagonal, and from there on everything is a sum over dimensions (Ioffe, ECCV 2006; Kaldi's
``ivector/plda``).

Shapes: N, M embeddings, D dimensions, E of them kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from sdpn.eigen import check_definite, generalised_eigenpairs
from sdpn.errors import InputError
from sdpn.io import kaldi_plda
from sdpn.verification.similarity import Similarity, checked_rows

#: Limit on coordinates in PLDA space, so that sums of squares can be squared without overflow.
_LARGEST = 1e70


@dataclass(frozen=True, eq=False)
class Plda:
    """A PLDA in the form that Kaldi stores: u = transform (x - mean) has W = I and B = diag(psi).

    Attributes:
        mean_D: mean of all embeddings.
        transform_ED: the map that diagonalises both covariances; E = D unless directions were left out.
        psi_E: between-speaker variances, descending, none negative.
    """

    mean_D: np.ndarray
    transform_ED: np.ndarray
    psi_E: np.ndarray

    def project(self, emb_ND: np.ndarray) -> np.ndarray:
        """Bring embeddings (N, D) to the space with W = I and B = diag(psi), (N, E).

        Raises:
            InputError: embeddings of another dimension, or a row that is zero, not finite, or so far from all
                speakers that its square overflows.
        """
        rows_ND = checked_rows(emb_ND)
        dimension = len(self.mean_D)
        if rows_ND.shape[1] != dimension:
            raise InputError(
                f"the PLDA has {dimension} dimensions, but the embeddings have {rows_ND.shape[1]}",
                hint="check whether a transform is missing or superfluous",
            )
        with np.errstate(over="ignore", invalid="ignore"):
            projected_NE: np.ndarray = (rows_ND - self.mean_D) @ self.transform_ED.T
            far_N = ~(np.abs(projected_NE) <= _LARGEST).all(axis=1)  # NaN is not
        if far_N.any():
            row = int(far_N.argmax())
            raise InputError(
                f"the embedding in row {row} is far outside the range of the PLDA: its largest value is"
                f" {np.abs(rows_ND[row]).max():.3g}",
                hint="check that it is from the model that the PLDA was trained with",
            )
        return projected_NE

    def similarity(self, emb_ND: np.ndarray) -> Similarity:
        """Log-likelihood ratio, "same speaker" to "two speakers", of every two embeddings, in nats.

        With both hypotheses Gaussian, and per dimension the covariance [[1+ψ, ψ], [ψ, 1+ψ]] under the first
        and (1+ψ) I under the second, the ratio of two densities in u and v is

            ln (1+ψ) - ½ ln (1+2ψ) + ψ/(1+2ψ) u v - ½ ψ²/((1+ψ)(1+2ψ)) (u² + v²).

        Raises:
            InputError: as in `project`.
        """
        u_NE, psi_E = self.project(emb_ND), self.psi_E
        constant = (np.log1p(psi_E) - 0.5 * np.log1p(2 * psi_E)).sum()
        square_E = psi_E**2 / ((1 + psi_E) * (1 + 2 * psi_E))
        return Similarity(
            u_NE * np.sqrt(psi_E / (1 + 2 * psi_E)), 0.5 * constant - 0.5 * (u_NE**2) @ square_E
        )

    def speaker_space(self, emb_ND: np.ndarray) -> np.ndarray:
        """Map embeddings to a space where Euclidean distance discriminates speakers, (N, E).

        In sum and difference of u and v the ratio of `similarity` falls into two parts. That of the
        difference is -¼ Σ ψ/(1+ψ) (u - v)², so the rows here are u sqrt(ψ/(1+ψ)): unchanged along directions
        in which speakers differ far more than utterances of a speaker, and zero along directions in which
        they do not.

        Raises:
            InputError: as in `project`.
        """
        rows_NE: np.ndarray = self.project(emb_ND) * np.sqrt(self.psi_E / (1 + self.psi_E))
        return rows_NE

    def score(self, first_ND: np.ndarray, second_MD: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios (N, M) of all pairs, see `similarity`."""
        first, second = self.similarity(first_ND), self.similarity(second_MD)
        ratio_NM: np.ndarray = first.features_NF @ second.features_NF.T
        ratio_NM += first.offsets_N[:, None]
        ratio_NM += second.offsets_N
        return ratio_NM

    def shrunk(self, share: float) -> Plda:
        """The model between this one and the cosine.

        Both covariances are moved towards multiples of the identity with the same trace, as Ledoit and Wolf
        shrink a sample covariance (Journal of Multivariate Analysis 88, 2004). Where nothing but parts of
        utterances is known of a speaker, they tell neither how recordings nor how channels differ, and half
        of what they say of directions does not hold elsewhere.

        Args:
            share: 0 keeps the model; at 1 all directions count alike, as with the cosine.

        Raises:
            ValueError: directions have been dropped, or the share lies outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise ValueError("share must lie in [0, 1]")
        between_DD, within_DD = self._covariances()

        def shrink(matrix_DD: np.ndarray) -> np.ndarray:
            isotropic_DD = np.eye(len(matrix_DD)) * (np.trace(matrix_DD) / len(matrix_DD))
            return (1 - share) * matrix_DD + share * isotropic_DD

        return from_covariances(self.mean_D, shrink(between_DD), shrink(within_DD))

    def _covariances(self) -> tuple[np.ndarray, np.ndarray]:
        """Between- and within-speaker covariance (D, D): T⁻¹ diag(psi) T⁻ᵀ and (TᵀT)⁻¹."""
        if len(self.transform_ED) < len(self.mean_D):
            raise ValueError("directions were dropped: the covariances are not known any more")
        inverse_DD = _inverse(self.transform_ED, "the transform of the PLDA")
        return (inverse_DD * self.psi_E) @ inverse_DD.T, inverse_DD @ inverse_DD.T

    def rediagonalised(self, num_dimensions: int | None = None) -> Plda:
        """The same model diagonalised again, keeping only the most discriminative directions.

        Solves B v = ψ W v, as the VBx recipe does: Kaldi's transform may be smoothed or truncated so that
        it does not diagonalise exactly.

        Args:
            num_dimensions: number of directions to keep; None or more than available keep all.

        Raises:
            ValueError: directions have already been dropped.
        """
        psi_D, directions_DD = generalised_eigenpairs(*self._covariances())
        keep = slice(num_dimensions)
        return Plda(self.mean_D, directions_DD.T[::-1][keep], np.maximum(psi_D[::-1][keep], 0.0))


def train_plda(emb_ND: np.ndarray, speakers_N: np.ndarray, *, iterations: int = 10) -> Plda:
    """Fit B, W and the mean by expectation-maximisation.

    The two-covariance model of Brümmer and de Villiers (Odyssey 2010), section 4; the updates are those of
    Sizov, Lee and Kinnunen (S+SSPR 2014), algorithm 3. With n embeddings of a speaker that add to f, the
    posterior of the speaker's y has precision B⁻¹ + n W⁻¹ and mean (B⁻¹ + n W⁻¹)⁻¹ (B⁻¹ mean + W⁻¹ f).

    Args:
        emb_ND: embeddings.
        speakers_N: speaker of each, (N,), of any sortable type.
        iterations: of EM, after initialisation from the moments.

    Raises:
        InputError: bad rows, fewer than two speakers, no speaker with two embeddings, too few embeddings for
            the dimension, or dimensions that are constant or linearly dependent.
    """
    rows_ND = checked_rows(emb_ND)
    # scale by a power of two, which is exact, against overflow and underflow of squares
    exponent = int(np.frexp(np.abs(rows_ND).max())[1])
    rows_ND = np.ldexp(rows_ND, -exponent)
    num_rows, dimension = rows_ND.shape
    names, speaker_N, count_S = np.unique(speakers_N, return_inverse=True, return_counts=True)
    num_speakers = len(names)
    if num_speakers < 2 or num_speakers == num_rows:
        raise InputError(
            f"{num_rows} embeddings of {num_speakers} speakers do not determine the covariances between"
            " and within speakers",
            hint="a PLDA needs several speakers, and several embeddings of some",
        )
    if num_rows - num_speakers < dimension:
        raise InputError(
            f"{num_rows} embeddings of {num_speakers} speakers are too few for a covariance of {dimension}"
            " dimensions",
            hint=f"expected at least {dimension} more embeddings than speakers, or fewer dimensions",
        )
    sums_SD = np.zeros((num_speakers, dimension))
    np.add.at(sums_SD, speaker_N, rows_ND)
    residual_ND = rows_ND - (sums_SD / count_S[:, None])[speaker_N]
    within_DD = residual_ND.T @ residual_ND / (num_rows - num_speakers)
    check_definite(within_DD)
    mean_D = rows_ND.mean(axis=0)
    between_DD = np.cov(sums_SD / count_S[:, None], rowvar=False, bias=True).reshape(dimension, dimension)
    # centroids of few speakers span few directions; a little of W lets EM find the others
    between_DD = between_DD + 1e-3 * within_DD
    total_DD = rows_ND.T @ rows_ND
    for _ in range(iterations):
        within_inverse = _inverse(within_DD, "the covariance within speakers")
        between_inverse = _inverse(between_DD, "the covariance between speakers")
        y_SD, spread_DD, weighted_DD = np.zeros_like(sums_SD), np.zeros_like(within_DD), 0.0
        for count in np.unique(count_S):
            same_S = count_S == count
            covariance_DD = _inverse(between_inverse + count * within_inverse, "the spread of a speaker")
            y_SD[same_S] = (between_inverse @ mean_D + sums_SD[same_S] @ within_inverse) @ covariance_DD
            spread_DD = spread_DD + same_S.sum() * covariance_DD
            weighted_DD = weighted_DD + same_S.sum() * count * covariance_DD
        mean_D = y_SD.mean(axis=0)
        centred_SD = y_SD - mean_D
        between_DD = (spread_DD + centred_SD.T @ centred_SD) / num_speakers
        cross_DD = sums_SD.T @ y_SD
        within_DD = (
            total_DD - cross_DD - cross_DD.T + (y_SD * count_S[:, None]).T @ y_SD + weighted_DD
        ) / num_rows
    plda = from_covariances(mean_D, between_DD, within_DD)
    mean_D, transform_ED = np.ldexp(plda.mean_D, exponent), np.ldexp(plda.transform_ED, -exponent)
    if not (np.isfinite(transform_ED).all() and transform_ED.any(axis=1).all()):
        raise InputError(
            f"the embeddings are too large or too small for a PLDA: the largest value is {2.0**exponent:.0e}",
            hint="rescale them first",
        )
    return Plda(mean_D, transform_ED, plda.psi_E)


def train_plda_of_parts(
    parts_NPD: np.ndarray, mean_D: np.ndarray, classes_N: np.ndarray | None = None
) -> Plda:
    """Fit a PLDA with the parts of each utterance as the embeddings of one speaker.

    Parts of an utterance differ like utterances of one speaker, and utterances of a large corpus like
    speakers.

    Args:
        parts_NPD: embeddings of the P parts of N utterances; they are centred and scaled to length 1.
        mean_D: that of the utterances.
        classes_N: speaker of each utterance as far as known, such as pseudo-labels; None treats every
            utterance as a speaker of its own.

    Raises:
        InputError: as in `train_plda`, or all embeddings are equal.
    """
    num_utterances, parts, dimension = parts_NPD.shape
    if num_utterances * (parts - 1) < dimension:
        raise InputError(
            f"{num_utterances} utterances, cut into {parts} parts, are too few for embeddings of {dimension}"
            " dimensions",
            hint=f"expected at least {-(-dimension // (parts - 1))} utterances",
        )
    centred = parts_NPD.reshape(-1, dimension).astype(np.float64) - mean_D
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError("all embeddings are equal", hint="check that the model is trained")
    classes_N = np.arange(num_utterances) if classes_N is None else classes_N
    return train_plda(centred / lengths, np.repeat(classes_N, parts))


def from_covariances(mean_D: np.ndarray, between_DD: np.ndarray, within_DD: np.ndarray) -> Plda:
    """Diagonalise B (D, D) and W (D, D) together."""
    psi_D, directions_DD = generalised_eigenpairs(between_DD, within_DD)
    return Plda(mean_D, directions_DD.T[::-1].copy(), np.maximum(psi_D[::-1], 0.0))


def _inverse(matrix_DD: np.ndarray, what: str) -> np.ndarray:
    try:
        inverse_DD: np.ndarray = np.linalg.inv(matrix_DD)
    except np.linalg.LinAlgError:
        inverse_DD = np.full_like(matrix_DD, np.nan)
    if not np.isfinite(inverse_DD).all():
        raise InputError(f"{what} cannot be inverted", hint="some dimensions may be linearly dependent")
    return inverse_DD


def read_plda(path: str | os.PathLike[str]) -> Plda:
    """Read a Kaldi ``<Plda>``, binary or text.

    Raises:
        InputError: the file is missing, truncated or not a PLDA, or its parts are inconsistent.
    """
    mean_D, transform_DD, psi_D = kaldi_plda.read(path)
    return Plda(mean_D, transform_DD, psi_D)


def write_plda(path: str | os.PathLike[str], plda: Plda, *, binary: bool = True) -> None:
    """Write a Kaldi ``<Plda>``; both binary and text are lossless, text is larger.

    Raises:
        InputError: the folder is not writable.
    """
    kaldi_plda.write(path, plda.mean_D, plda.transform_ED, plda.psi_E, binary=binary)
