"""Windows assigned anew under constraints: some have a speaker that is known, the others follow.

Shapes: N windows, D embedding dimensions, K speakers.
"""

from __future__ import annotations

import numpy as np

from sdpn.clustering.hmm import forward_backward
from sdpn.clustering.recording_model import fit_recording
from sdpn.clustering.speaker_pairs import windows_in_usual_ones
from sdpn.verification.similarity import cosine

#: Information of a window relative to an independent one, as in `sdpn.clustering.merging.Merging`, and how
#: many times as much a window counts whose speaker the user has stated.
_INDEPENDENCE, _STATED = 0.25, 4.0

#: Probability of staying with a speaker, and rounds.
_LOOP, _ROUNDS = 0.9, 20

#: How much more probable another speaker must be, in nats, for a window that nobody has named to move: what
#: the clustering decided counts for something. Chosen on training speakers (docs/editing.md).
_STAYS = 3.0


def recluster(
    emb_ND: np.ndarray,
    times_N2: np.ndarray,
    labels_N: np.ndarray,
    known_N: np.ndarray,
    affected_K: np.ndarray,
) -> np.ndarray:
    """Assign windows anew.

    Speakers are Gaussians with the variances of the recording (`sdpn.clustering.recording_model`). Rounds of
    means from windows and windows from means, as in VBx, start from the labels as corrected; windows that are
    known keep their speaker and count more. Only windows of speakers whom a correction concerns can move, and
    only to such speakers: what nobody has complained about stays.

    Args:
        emb_ND: embeddings.
        times_N2: start and end of the windows.
        labels_N: labels 0..K-1 with the corrections applied to the turns that they name.
        known_N: whether the label of a window is known.
        affected_K: whether a correction concerns a speaker.

    Returns:
        labels (N,).
    """
    if len(emb_ND) < 3 or affected_K.sum() < 2:
        return labels_N
    model, unit = fit_recording(cosine(emb_ND), times_N2), windows_in_usual_ones(times_N2)
    share, num_speakers = _INDEPENDENCE * unit, len(affected_K)
    weight_N = np.where(known_N, _STATED, 1.0)
    fixed_N = known_N | ~affected_K[labels_N]
    allowed_NK = np.where(
        fixed_N[:, None], np.eye(num_speakers)[labels_N], affected_K[None].astype(np.float64)
    )
    posteriors_NK: np.ndarray = np.eye(num_speakers)[labels_N]
    stays_NK = _STAYS * posteriors_NK
    for _ in range(_ROUNDS):
        sizes_K = weight_N @ posteriors_NK
        variance_K1 = 1.0 / (1.0 + share * sizes_K * model.phi)[:, None]
        mean_KD = share * variance_K1 * ((posteriors_NK * weight_N[:, None]).T @ model.x_ND) * model.phi
        log_p_NK = model.x_ND @ mean_KD.T
        log_p_NK -= 0.5 * ((mean_KD**2).sum(axis=1) + mean_KD.shape[1] * model.phi * variance_K1[:, 0])
        log_p_NK = share * log_p_NK + stays_NK + np.log(np.maximum(allowed_NK, 1e-300))
        priors_K = np.maximum(posteriors_NK.sum(axis=0), 0.5)
        again_NK, _, _ = forward_backward(log_p_NK, priors_K / priors_K.sum(), np.full(len(emb_ND), _LOOP))
        again_NK = again_NK * allowed_NK + 1e-300 * allowed_NK
        again_NK /= again_NK.sum(axis=1, keepdims=True)
        done = np.abs(again_NK - posteriors_NK).max() < 1e-4
        posteriors_NK = again_NK
        if done:
            break
    return posteriors_NK.argmax(axis=1)
