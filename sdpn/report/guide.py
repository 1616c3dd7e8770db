"""Guide to the training curves: groups of tags, and the patterns of a healthy run and of a collapse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Tags with the same part before the first ``/``.

    Attributes:
        prefix: that part.
        title: displayed title.
        reading: how to read the charts.
        section: part of the page, "training" or "prototypes".
    """

    prefix: str
    title: str
    reading: str
    section: str = "training"


_KNOWN = (
    Group(
        "loss",
        "Losses",
        "In a healthy run the loss falls fast, then slowly, and ends well below its start. In a collapse, "
        "ce stays at the logarithm of the number of prototypes, or memax rises towards it because a "
        "few prototypes attract all speech; a jump of koleo means that embeddings have become "
        "near-duplicates.",
    ),
    Group(
        "evaluation",
        "Verification",
        "In a healthy run the equal error rate falls fast, then slowly. It is that of the teacher, which "
        "the run exports.",
    ),
    Group(
        "embedding",
        "Embeddings",
        "In a healthy run std stays near 1 and effective_rank, the effective dimension of the embeddings, "
        "rises. In a collapse std falls to 0 or effective_rank to 1.",
    ),
    Group(
        "train",
        "Optimisation",
        "A healthy run has the planned learning rate and momentum, a grad_norm without persistent spikes, "
        "a steady step_s, and a loader_wait near 0; higher values mean that training waits for data.",
    ),
    Group(
        "prototypes",
        "Usage, drift and similarity",
        "In a healthy run usage_perplexity rises towards the number of prototypes, few are dead, and "
        "drift_initial_mean rises and levels off. If drift and grad_norm are exactly 0, the prototypes are "
        "not being trained; in a collapse usage_perplexity falls towards 1, or nearest_cosine_mean "
        "approaches 1 because prototypes have become copies of each other.",
        section="prototypes",
    ),
)

#: What single tags mean (sdpn/tracking/board.py writes them), in the order in which charts are shown.
_TAGS = {
    "loss/total": "The total loss.",
    "loss/ce": "Cross-entropy of the student's assignments against the teacher's.",
    "loss/memax": "0 when all prototypes are used equally.",
    "loss/koleo": "Low when embeddings are spread out.",
    "loss/dimension": "0 when the dimensions of the embedding are uncorrelated.",
    "evaluation/eer": "Equal error rate on the trial list, as a fraction.",
    "embedding/std": "Spread of the embeddings: about 1; 0 at collapse.",
    "embedding/effective_rank": "Effective dimension of the embeddings.",
    "train/lr": "Learning rate.",
    "train/momentum": "EMA weight of the old teacher at each step.",
    "train/grad_norm": "Gradient norm before clipping.",
    "train/step_s": "Seconds per step.",
    "train/loader_wait": "Share of the time spent waiting for data.",
    "train/bad_files": "Audio files that could not be read and were skipped.",
    "train/audio_hours_per_hour": "Hours of crops processed per hour of training.",
    "prototypes/usage_perplexity": "Effective number of prototypes in use.",
    "prototypes/dead": "Prototypes with less than a tenth of the uniform share.",
    "prototypes/effective_rank": "Effective dimension of the prototypes.",
    "prototypes/drift_initial_mean": "Mean 1 − cosine to the initial prototypes.",
    "prototypes/drift_initial_max": "The same for the prototype that moved most.",
    "prototypes/drift_previous_mean": "Mean 1 − cosine to the previous evaluation.",
    "prototypes/drift_previous_max": "The same for the prototype that moved most.",
    "prototypes/nearest_cosine_mean": "Mean cosine to the nearest other prototype.",
    "prototypes/grad_norm": "Gradient norm of the prototypes before clipping.",
    "prototypes/usage": "Usage of each prototype; 1 is the uniform share.",
    "prototypes/drift_initial": "1 − cosine of each prototype to its initial value.",
    "prototypes/drift_previous": "1 − cosine of each prototype to the previous evaluation.",
    "prototypes/similarity": "Cosine of every pair of prototypes, white for 1, ordered by similarity. "
    "Healthy: a thin white diagonal on uniform grey. Collapse: large white blocks, or white everywhere.",
}


def groups_of(tags: Iterable[str]) -> list[Group]:
    """The groups that ``tags`` belong to: known ones in the order of reading, then the others by name."""
    prefixes = {prefix_of(tag) for tag in tags}
    known = [group for group in _KNOWN if group.prefix in prefixes]
    others = sorted(prefixes - {group.prefix for group in known})
    return known + [Group(prefix, prefix, "") for prefix in others]


def prefix_of(tag: str) -> str:
    """The part before the first ``/``."""
    return tag.partition("/")[0]


def tag_order(tag: str) -> tuple[int, str]:
    """Sort key: known tags in the order of reading, then the others by name."""
    known = list(_TAGS)
    return (known.index(tag) if tag in _TAGS else len(known), tag)


def explain(tag: str) -> str:
    """The meaning of a tag; empty if it is unknown."""
    return _TAGS.get(tag, "")
