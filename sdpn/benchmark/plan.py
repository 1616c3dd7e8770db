"""What the benchmark measures: conditions, seeds and sizes, and the cells they make.

A cell is the smallest piece of work: one model on one corpus in one condition (and with one seed). It is
computed as a whole, and kept when it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from sdpn.augmentation.conditions import Condition, measured_room, noise_at, telephone
from sdpn.benchmark.held_out import is_held_out_sound
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.corpus import find_audio

Part = Literal["eer", "der", "ami", "cost"]
PARTS: tuple[Part, ...] = get_args(Part)

#: Corpora of unseen speakers: the folder of each, with its trials ``dev_trials`` and speakers ``dev/``.
DEV_CORPORA = ("speechocean762", "commonvoice")

#: Trials of all pairs of utterances of the speakers that training leaves out.
HELD_OUT = "librispeech held out"
HELD_OUT_FOLDER = Path("librispeech_excerpt/more")

AMI = "ami"
AMI_FOLDER = Path("ami_excerpt")

#: Conversations of a manifest that models were once chosen by.
MANIFEST = "manifest"

#: Conditions of a verification utterance. Gains are exact, except that what becomes fainter is rounded to 16
#: bits as in a file; what becomes louder exceeds full scale and does not clip.
VERIFICATION_CONDITIONS = ("clean", "noise 15 dB", "noise 5 dB", "room", "telephone", "+20 dB", "-20 dB")

#: Conditions of a conversation, each with the same turns: close to the microphone; in a measured room with
#: recorded noise at 5 to 20 dB; close, over a telephone.
CONVERSATION_CONDITIONS = ("dry", "room and noise", "telephone")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        parts: of `PARTS`.
        seeds: of the conversations.
        conversations: for each seed and corpus; one each of 2, 3, … speakers, from 2 again after 6.
        duration_s: length of a conversation.
        conditions: of verification.
        cost_conversations: conversations that the cost is measured on.
    """

    parts: Collection[Part] = PARTS
    seeds: Sequence[int] = (101, 102, 103, 104, 105)
    conversations: int = 5
    duration_s: float = 180.0
    conditions: Sequence[str] = VERIFICATION_CONDITIONS
    cost_conversations: int = 4

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.parts) - set(PARTS)):
            raise InputError(f"there is no part {unknown[0]!r}", hint=f"parts: {', '.join(PARTS)}")
        if not self.parts:
            raise InputError("no part was chosen", hint=f"parts: {', '.join(PARTS)}")

    @property
    def sizes(self) -> tuple[float, ...]:
        """What a cell depends on that its name does not say."""
        return self.conversations, self.duration_s, self.cost_conversations

    def quick(self) -> Plan:
        """A first look: one seed, short conversations, and the conditions that differ most."""
        return replace(
            self,
            seeds=self.seeds[:1],
            duration_s=60.0,
            conditions=("clean", "noise 5 dB", "telephone"),
            cost_conversations=2,
        )


class Cell(NamedTuple):
    """A piece of work; ``seed`` only where conversations are drawn."""

    part: Part
    corpus: str
    condition: str
    seed: int | None = None

    @property
    def name(self) -> str:
        """A file name."""
        words = [self.part, self.corpus, self.condition, *([] if self.seed is None else [str(self.seed)])]
        return ".".join(word.replace(" ", "-") for word in words)


def cells(plan: Plan, *, manifest: bool) -> list[Cell]:
    """The cells of a plan for one model, the cost last.

    Args:
        plan: how much.
        manifest: whether there is a manifest of conversations.
    """
    found: list[Cell] = []
    if "eer" in plan.parts:
        found += [Cell("eer", corpus, condition) for corpus in DEV_CORPORA for condition in plan.conditions]
        found.append(Cell("eer", HELD_OUT, "clean"))
    if "der" in plan.parts:
        found += [
            Cell("der", corpus, condition, seed)
            for corpus in DEV_CORPORA
            for condition in CONVERSATION_CONDITIONS
            for seed in plan.seeds
        ]
        if manifest:
            found.append(Cell("der", MANIFEST, "as written"))
    if "ami" in plan.parts:
        found.append(Cell("ami", AMI, "clips"))
    if "cost" in plan.parts:
        found.append(Cell("cost", DEV_CORPORA[0], "dry", plan.seeds[0]))
    return found


def verification_condition(name: str, data: Path) -> Condition | None:
    """What happens to an utterance; None for nothing.

    Args:
        name: one of `VERIFICATION_CONDITIONS`.
        data: folder with ``noise`` and ``rir``.

    Raises:
        InputError: noises or rooms are missing or cannot be read.
    """
    made: dict[str, Callable[[], Condition | None]] = {
        "clean": lambda: None,
        "noise 15 dB": lambda: noise_at(held_out_sounds(data / "noise"), (15.0, 15.0)),
        "noise 5 dB": lambda: noise_at(held_out_sounds(data / "noise"), (5.0, 5.0)),
        "room": lambda: measured_room(held_out_sounds(data / "rir")),
        "telephone": lambda: telephone,
        "+20 dB": lambda: _louder,
        "-20 dB": lambda: _fainter,
    }
    return made[name]()


def held_out_sounds(folder: Path) -> list[np.ndarray]:
    """The noises or rooms that training leaves out, each (S,) at 16 kHz.

    Raises:
        InputError: there are none, or one cannot be read.
    """
    paths = [path for path in find_audio(folder) if is_held_out_sound(path)]
    if not paths:
        raise InputError("holds no recording that is held out for the benchmark", path=folder)
    return [audio.read(path) for path in paths]


def _louder(wave: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return wave * np.float32(10.0)


def _fainter(wave: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return np.round(wave * np.float32(3276.8)) / np.float32(32768.0)
