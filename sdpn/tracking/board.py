"""The only TensorBoard writer. Tag names are an interface: dashboards and reports rely on them.

==============================  ==========================================================================
tag                             meaning
==============================  ==========================================================================
loss/total, ce, memax, koleo    the objective and its unweighted terms, mean since the last point
loss/dimension                  the dimension regulariser, where it is on
loss/believed, corrected        pseudo-labels accepted by the gate, and corrected ones, as shares of the batch
loss/teacher_agrees             share of utterances whose pseudo-label is the teacher's top class
loss/frame_error                segmentation: share of frames with a wrong set of speakers
train/lr, train/momentum        learning rate, EMA momentum of the teacher
train/grad_norm                 norm of all gradients before clipping
train/step_s                    seconds for a step
train/loader_wait               share of the time spent waiting for data
train/bad_files                 audio files that could not be read and were skipped, so far
train/audio_hours_per_hour      hours of crops processed per hour of training
prototypes/grad_norm            norm of the prototypes' own gradient before clipping
prototypes/drift_initial_mean   mean (``_max``: largest) 1 − cosine to the prototypes at step 0
prototypes/drift_previous_mean  the same to the previous evaluation
prototypes/nearest_cosine_mean  mean cosine of a prototype to its nearest neighbour
prototypes/effective_rank       of the prototypes
prototypes/usage_perplexity     number of prototypes in use since the previous evaluation
prototypes/dead                 prototypes with less than a tenth of an equal share
prototypes/usage                histogram of usage times K (1 is an equal share)
prototypes/drift_initial        histogram of 1 − cosine to the prototypes at step 0
prototypes/drift_previous       the same to the previous evaluation
prototypes/similarity           image: cosines between prototypes (1,024 at most), similar ones side by side
pseudo/clusters, nmi, purity    labels of each round of pseudo-label training, over the rounds
pseudo/eer, min_dcf_001         of the network that the round has trained
pseudo/eer_back_end             the same with the round's back end
evaluation/eer                  equal error rate of the teacher on the trial list, in [0, 1]
evaluation/frame_error          segmentation, on held-out speakers: frames with a wrong set of speakers
evaluation/der                  the same as speaker time; missed, false_alarm and confusion are its parts
evaluation/overlap_recall       of frames with two speakers; overlap_precision
embedding/std                   spread of the student's embeddings: about 1, 0 at collapse
embedding/effective_rank        of the student's embeddings of the last batch
prototypes/projector            projector: prototypes and the teacher's projections of some utterances
explain/<utterance>             image: where an utterance's evidence lies, of the teacher
explain/…/on_speech, masks      share of it on speech; score lost to hiding it, beyond random masks
layers/weights, activations,    histograms by layer of the student; activations of the teacher on the
utterances gradients/<layer>               that are explained
configuration, code             text: the settings; versions and commit
(graph)                         the student: features to embedding and projection
==============================  ==========================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard.writer import SummaryWriter

from sdpn.tracking import prototype_statistics

#: Prototypes in the picture of their cosines, evenly spaced where there are more: it is to be looked at.
MAX_DRAWN = 1024


class Board:
    """Writes the curves of a run below ``directory``; a resumed run continues them."""

    def __init__(self, directory: Path, *, start_step: int) -> None:
        # purge_step hides points that a killed run wrote after its last checkpoint
        self._writer = SummaryWriter(str(directory), purge_step=start_step + 1 if start_step else None)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write numbers under their tags."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str) -> None:
        """Write a text, such as the configuration."""
        self._writer.add_text(tag, text)

    def picture(self, step: int, tag: str, pixels_HWC: np.ndarray) -> None:
        """Write a picture, (H, W, 3) uint8."""
        self._writer.add_image(tag, pixels_HWC, step, dataformats="HWC")

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Write distributions of numbers under their tags."""
        for tag, numbers in values.items():
            self._writer.add_histogram(tag, numbers, step)

    def prototypes(
        self, step: int, *, now_KE: Tensor, initial_KE: Tensor, previous_KE: Tensor, usage_K: Tensor
    ) -> dict[str, float]:
        """Write the movement and usage of the prototypes.

        Args:
            step: current step.
            now_KE: prototypes (K, E).
            initial_KE: prototypes at step 0.
            previous_KE: prototypes at the previous evaluation.
            usage_K: share of the rows since the previous evaluation, (K,).

        Returns:
            the scalars written.
        """
        since_initial_K = prototype_statistics.cosine_drift(initial_KE, now_KE)
        since_previous_K = prototype_statistics.cosine_drift(previous_KE, now_KE)
        values = {
            "prototypes/drift_initial_mean": since_initial_K.mean(),
            "prototypes/drift_initial_max": since_initial_K.max(),
            "prototypes/drift_previous_mean": since_previous_K.mean(),
            "prototypes/drift_previous_max": since_previous_K.max(),
            "prototypes/nearest_cosine_mean": prototype_statistics.nearest_cosine(now_KE).mean(),
            "prototypes/effective_rank": prototype_statistics.effective_rank(now_KE),
            "prototypes/usage_perplexity": prototype_statistics.perplexity(usage_K),
            "prototypes/dead": prototype_statistics.is_dead(usage_K).sum(),
        }
        scalars = {tag: float(value) for tag, value in values.items()}
        self.scalars(step, scalars)
        self._writer.add_histogram("prototypes/usage", usage_K * len(usage_K), step)
        self._writer.add_histogram("prototypes/drift_initial", since_initial_K, step)
        self._writer.add_histogram("prototypes/drift_previous", since_previous_K, step)
        drawn = torch.linspace(0, len(now_KE) - 1, min(len(now_KE), MAX_DRAWN)).long()
        similarity_DD = prototype_statistics.prototype_similarity(now_KE[drawn])
        order_D = prototype_statistics.order_by_similarity(similarity_DD)
        image_DD = (similarity_DD[order_D][:, order_D] + 1) / 2
        self._writer.add_image("prototypes/similarity", image_DD.clamp(0, 1).unsqueeze(0), step)
        return scalars

    def projector(
        self, step: int, *, prototypes_KE: Tensor, rows_NE: Tensor, labels: Sequence[tuple[str, str]]
    ) -> None:
        """Write points for the projector, which colours them by kind, utterance or speaker.

        Args:
            step: current step.
            prototypes_KE: prototypes, on the unit sphere.
            rows_NE: projections of utterances, on the unit sphere.
            labels: (utterance, speaker) of each row.
        """
        metadata = [[f"prototype {k}", *["prototype"] * 3] for k in range(len(prototypes_KE))]
        metadata += [[speaker, "utterance", utterance, speaker] for utterance, speaker in labels]
        self._writer.add_embedding(
            torch.cat([prototypes_KE, rows_NE]).cpu(),
            metadata=metadata,
            metadata_header=["label", "kind", "utterance", "speaker"],
            global_step=step,
            tag="prototypes/projector",
        )

    def graph(self, module: nn.Module, example: Tensor) -> None:
        """Draw ``module`` as it runs on ``example``, in evaluation mode."""
        was_training = module.training
        module.eval()
        try:
            with warnings.catch_warnings():
                # tensorboard traces with torch.jit, which torch has deprecated with nothing in its place here
                warnings.simplefilter("ignore", DeprecationWarning)
                # tracing what is traced is a no-op, of which torch warns; left to itself, tensorboard would
                # trace twice, to compare, which takes longer than the first steps of a small network
                warnings.filterwarnings("ignore", "The input to trace is already")
                self._writer.add_graph(torch.jit.trace(module, example, check_trace=False), example)
        finally:
            module.train(was_training)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
