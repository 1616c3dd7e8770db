"""Variational Bayes of VBx: speakers are Gaussians with PLDA-distributed means, turns a Markov chain.

Numbers in parentheses at the end of a line are equations of Landini, Profant, Diez and Burget, "Bayesian HMM
clustering of x-vector sequences (VBx) in speaker diarization", arXiv 2012.14952.

Shapes: N windows, D dimensions, K speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.hmm import forward_backward

#: A speaker whose prior falls below this has lost all windows and is removed.
_GONE = 1e-10


@dataclass(frozen=True, eq=False)
class HmmFit:
    """Outcome of `variational_bayes`.

    Attributes:
        posteriors_NK: responsibilities of the remaining speakers.
        priors_K: their probabilities after a change of speaker.
        start_K: which of the initial speakers they are.
        elbos: the evidence lower bound after each iteration.
    """

    posteriors_NK: np.ndarray
    priors_K: np.ndarray
    start_K: np.ndarray
    elbos: list[float]

    def of_all(self, num: int) -> np.ndarray:
        """Responsibilities (N, num) of all initial speakers, 0 for those who were removed."""
        all_NK = np.zeros((len(self.posteriors_NK), num))
        all_NK[:, self.start_K] = self.posteriors_NK
        return all_NK


def variational_bayes(
    x_ND: np.ndarray,
    phi_D: np.ndarray,
    start_NK: np.ndarray,
    *,
    loop_N: np.ndarray,
    fa: float,
    fb: float,
    max_iterations: int,
    epsilon: float,
) -> HmmFit:
    """Update speakers and responsibilities alternately until the evidence lower bound converges.

    Args:
        x_ND: windows in the PLDA's space, where the covariance within speakers is the identity.
        phi_D: between-speaker variances Φ.
        start_NK: initial responsibilities.
        loop_N: P_loop of the step to each window.
        fa: F_A.
        fb: F_B.
        max_iterations: maximum number of iterations.
        epsilon: convergence threshold on the increase of the bound.
    """
    gamma_NK, pi_K = start_NK, np.full(start_NK.shape[1], 1.0 / start_NK.shape[1])
    start_K = np.arange(start_NK.shape[1])
    constant_N1 = -0.5 * ((x_ND**2).sum(axis=1, keepdims=True) + len(phi_D) * np.log(2 * np.pi))
    rho_ND = x_ND * np.sqrt(phi_D)  # (18)
    elbos: list[float] = []
    for _ in range(max_iterations):
        variance_KD = 1.0 / (1.0 + fa / fb * gamma_NK.sum(axis=0)[:, None] * phi_D)  # (17)
        alpha_KD = fa / fb * variance_KD * (gamma_NK.T @ rho_ND)  # (16)
        log_p_NK = rho_ND @ alpha_KD.T
        log_p_NK -= 0.5 * ((variance_KD + alpha_KD**2) @ phi_D)
        log_p_NK += constant_N1
        log_p_NK *= fa  # (23)
        gamma_NK, changes_K, log_evidence = forward_backward(log_p_NK, pi_K, loop_N)  # (19)
        divergence = 0.5 * (np.log(variance_KD) - variance_KD - alpha_KD**2 + 1.0).sum()
        elbos.append(log_evidence + fb * divergence)  # (25)
        pi_K = gamma_NK[0] + changes_K  # (24)
        pi_K /= pi_K.sum()
        alive_K = pi_K > _GONE
        if not alive_K.all():
            gamma_NK, pi_K = np.ascontiguousarray(gamma_NK[:, alive_K]), pi_K[alive_K] / pi_K[alive_K].sum()
            start_K = start_K[alive_K]
        if len(elbos) > 1 and elbos[-1] - elbos[-2] < epsilon:
            break
    return HmmFit(gamma_NK, pi_K, start_K, elbos)
