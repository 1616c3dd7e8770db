"""Posteriors of a hidden Markov model whose speaker changes do not depend on who spoke before.

Numbers in parentheses at the end of a line are equations of Landini, Profant, Diez and Burget, "Bayesian HMM
clustering of x-vector sequences (VBx) in speaker diarization", arXiv 2012.14952.

Shapes: N windows, K speakers.
"""

from __future__ import annotations

import numpy as np


def forward_backward(
    log_p_NK: np.ndarray, pi_K: np.ndarray, loop_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Posteriors of a chain that stays with probability P_loop, or else draws a speaker from the prior.

    The structure of the transition matrix P_loop I + (1 - P_loop) 1 πᵀ (1) makes a step cost K instead of K².
    Forward and backward values are scaled to sum to one in each step, which needs no logarithms.

    Args:
        log_p_NK: log-likelihood of each window under each speaker.
        pi_K: prior π of the speakers, positive.
        loop_N: P_loop of the step to each window, below 1.

    Returns:
        posteriors γ (N, K), expected number of draws of each speaker after the first window (K,), and the
        log-probability of all windows.
    """
    num_windows = len(log_p_NK)
    largest_N1 = log_p_NK.max(axis=1, keepdims=True)
    p_NK = np.exp(log_p_NK - largest_N1)
    draws_NK = (1.0 - loop_N)[:, None] * pi_K
    forward_NK, scale_N = np.empty_like(p_NK), np.empty(num_windows)
    now_K = p_NK[0] * pi_K
    for t in range(num_windows):
        if t:
            now_K = now_K * loop_N[t]  # (20)
            now_K += draws_NK[t]
            now_K *= p_NK[t]
        scale_N[t] = now_K.sum()
        now_K /= scale_N[t]
        forward_NK[t] = now_K
    backward_NK = np.empty_like(p_NK)
    backward_NK[-1] = now_K = np.ones_like(pi_K)
    for t in range(num_windows - 1, 0, -1):
        now_K = now_K * p_NK[t]  # (21)
        now_K /= scale_N[t]
        now_K = now_K * loop_N[t] + draws_NK[t] @ now_K
        backward_NK[t - 1] = now_K
    log_evidence = float(np.log(scale_N).sum() + largest_N1.sum())  # (22)
    forward_NK *= backward_NK
    p_NK *= backward_NK
    p_NK *= draws_NK
    changes_K = (p_NK[1:] / scale_N[1:, None]).sum(axis=0)
    return forward_NK, changes_K, log_evidence
