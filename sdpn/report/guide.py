"""How to read what training logs: groups of tags, and what a healthy run and a collapse look like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Tags with the same part before the first ``/``.

    Attributes:
        prefix: that part.
        title: for people.
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
        "A healthy run falls fast, then slowly, and ends well below its start. In a collapse ce stays flat "
        "at the logarithm of the number of prototypes, or memax climbs towards it because few prototypes "
        "take all speech; a jump of koleo means that embeddings have become near-duplicates.",
    ),
    Group(
        "evaluation",
        "Verification",
        "A healthy run lowers the equal error rate fast, then slowly. It is that of the teacher, which is "
        "what the run exports.",
    ),
    Group(
        "embedding",
        "Embeddings",
        "A healthy run keeps std near 1 and raises effective_rank, the number of directions that the "
        "embeddings really use. In a collapse std falls to 0 or effective_rank to 1.",
    ),
    Group(
        "train",
        "Optimisation",
        "A healthy run shows the planned learning rate and momentum, a grad_norm without lasting spikes, an "
        "even step_s, and a loader_wait near 0: more means that training waits for data.",
    ),
    Group(
        "prototypes",
        "Use, drift and likeness",
        "A healthy run has a usage_perplexity that climbs towards the number of prototypes, few dead ones, "
        "and a drift_initial_mean that rises and levels off. If drift and grad_norm are exactly 0, the "
        "prototypes are not being trained; in a collapse usage_perplexity falls towards 1, or "
        "nearest_cosine_mean nears 1 because prototypes have become copies of each other.",
        section="prototypes",
    ),
)

#: What single tags mean (sdpn/tracking/board.py writes them), in the order in which charts are shown.
_TAGS = {
    "loss/total": "What is minimised.",
    "loss/ce": "Cross-entropy of the student's assignments against the teacher's.",
    "loss/memax": "0 when all prototypes are used alike.",
    "loss/koleo": "Low when embeddings spread out.",
    "loss/dimension": "0 when the dimensions of the embedding are uncorrelated.",
    "evaluation/eer": "Equal error rate on the trial list, as a share.",
    "embedding/std": "Spread of the embeddings: about 1, and 0 at collapse.",
    "embedding/effective_rank": "Directions in use, in effect.",
    "train/lr": "Learning rate.",
    "train/momentum": "Weight of the old teacher at each step.",
    "train/grad_norm": "Length of the gradient before clipping.",
    "train/step_s": "Seconds per step.",
    "train/loader_wait": "Share of the time spent waiting for data.",
    "train/bad_files": "Audio files that could not be read and were skipped.",
    "train/audio_hours_per_hour": "Hours of crops seen in an hour of training.",
    "prototypes/usage_perplexity": "How many prototypes are in use, in effect.",
    "prototypes/dead": "Prototypes with less than a tenth of an equal share.",
    "prototypes/effective_rank": "Directions that the prototypes span, in effect.",
    "prototypes/drift_initial_mean": "Mean 1 − cosine to where they started.",
    "prototypes/drift_initial_max": "The same for the prototype that moved most.",
    "prototypes/drift_previous_mean": "Mean 1 − cosine to the look before.",
    "prototypes/drift_previous_max": "The same for the prototype that moved most.",
    "prototypes/nearest_cosine_mean": "Mean cosine to the nearest other prototype.",
    "prototypes/grad_norm": "Length of the prototypes' gradient before clipping.",
    "prototypes/usage": "Use of each prototype; 1 is an equal share.",
    "prototypes/drift_initial": "1 − cosine of each prototype to where it started.",
    "prototypes/drift_previous": "1 − cosine of each prototype to the look before.",
    "prototypes/similarity": "Cosine of every pair of prototypes, white for 1, similar ones side by side. "
    "Healthy: a thin white diagonal on an even grey. Collapse: large white blocks, or white everywhere.",
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
    """What a tag means; empty where it is unknown."""
    return _TAGS.get(tag, "")
