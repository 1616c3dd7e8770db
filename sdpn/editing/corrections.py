"""What a user says about turns and speakers, and whether that can all be true.

A correction is a line of text::

    is TIME NAME          the turn at TIME (in seconds) is spoken by NAME, who may be new
    same NAME NAME        these two are one person
    different TIME TIME   the turns at these times are of two people

``is`` and ``different`` say that windows must or cannot be of one speaker, ``same`` that speakers are one.
What follows from several of them is kept together by a union of names; a contradiction is found when the
correction that completes it is read, and both are named.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from sdpn.errors import InputError
from sdpn.formats.names import given_name
from sdpn.io.rttm import Turn
from sdpn.io.text import numbered_lines

Kind = Literal["is", "same", "different"]

#: What a line of each kind holds.
USAGE = {"is": "is TIME NAME", "same": "same NAME NAME", "different": "different TIME TIME"}


@dataclass(frozen=True)
class Correction:
    """A correction.

    Attributes:
        kind: what is said.
        first: a time or a name.
        second: the other.
    """

    kind: Kind
    first: str
    second: str

    def __str__(self) -> str:
        """As a line of a file."""
        return shlex.join([self.kind, self.first, self.second])


class Known(NamedTuple):
    """A stretch of speech whose speaker a correction states."""

    start_s: float
    end_s: float
    speaker: str
    number: int


@dataclass
class Constraints:
    """What corrections say together.

    Attributes:
        known: stretches of speech with their speakers, by the names that corrections use.
        joined: pairs of names that are one.
        apart: pairs of names that are two, with the number of the correction that says so.
    """

    known: list[Known] = field(default_factory=list)
    joined: list[tuple[str, str, int]] = field(default_factory=list)
    apart: list[tuple[str, str, int]] = field(default_factory=list)

    def root(self, name: str) -> str:
        """The name that stands for everybody who is one with this one: the first that was joined."""
        parent = {name: name}
        for first, second, _ in self.joined:
            one, other = self._find(parent, first), self._find(parent, second)
            if one != other:
                parent[other] = one
        return self._find(parent, name)

    @staticmethod
    def _find(parent: dict[str, str], name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name


def parse_correction(
    words: Sequence[str], *, path: Path | None = None, line: int | None = None
) -> Correction:
    """Parse the words of a correction.

    Raises:
        InputError: they are none.
    """
    kind = words[0] if words else ""
    if kind not in USAGE or len(words) != 3:
        raise InputError(
            f"{shlex.join(words)!r} is no correction",
            path=path,
            line=line,
            hint=f"expected one of: {'; '.join(USAGE.values())} (names with blanks in quotes)",
        )
    for word in words[1 : {"is": 2, "same": 1, "different": 3}[kind]]:
        try:
            time_s = float(word)
        except ValueError:
            time_s = math.nan
        if not 0 <= time_s < math.inf:
            raise InputError(
                f"{word!r} is not a time in seconds", path=path, line=line, hint=f"expected {USAGE[kind]}"
            )
    first, second = words[1:]
    if kind == "is":
        try:
            second = given_name(second)
        except InputError as error:
            raise InputError(error.message, path=path, line=line, hint=error.hint) from None
    if kind == "same" and first == second:
        raise InputError(f"{first!r} is one speaker already", path=path, line=line, hint="name two")
    return Correction(kind, first, second)  # type: ignore[arg-type]


def read_corrections(path: Path) -> list[Correction]:
    """Read a file of corrections, one a line; ``#`` begins a comment.

    Raises:
        InputError: the file cannot be read, or a line is no correction.
    """
    found = []
    for number, line in numbered_lines(path):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"{line!r} is no correction ({error})", path=path, line=number) from None
        if words:
            found.append(parse_correction(words, path=path, line=number))
    return found


def constraints_of(corrections: Sequence[Correction], turns: Sequence[Turn]) -> Constraints:
    """What corrections say together about the turns of a recording.

    Args:
        corrections: in the order in which they were made.
        turns: before the corrections, with one speaker at a time.

    Raises:
        InputError: nobody speaks at a time, nobody has a name that is to be joined, or two corrections
            contradict each other.
    """
    names = {turn.speaker for turn in turns}
    found = Constraints()
    for number, each in enumerate(corrections):
        if each.kind == "is":
            turn = _turn_at(each.first, turns, each)
            found.known.append(Known(turn.onset_s, turn.end_s, each.second, number))
            names.add(each.second)
        elif each.kind == "same":
            for name in (each.first, each.second):
                if name not in names:
                    raise InputError(
                        f"correction {number + 1} ({each}): nobody is {name!r}",
                        hint=f"these speak: {', '.join(sorted(names))}",
                    )
            found.joined.append((each.first, each.second, number))
        else:
            _apart(found, each, number, turns, names)
        _refuse_contradiction(found, corrections, number)
    return found


def _apart(found: Constraints, each: Correction, number: int, turns: Sequence[Turn], names: set[str]) -> None:
    """``different``: both turns are known to be of two; the second gets a new name if they have one."""
    sides = []
    for time in (each.first, each.second):
        turn = _turn_at(time, turns, each)
        stated = [
            one.speaker for one in found.known if (one.start_s, one.end_s) == (turn.onset_s, turn.end_s)
        ]
        sides.append((turn, stated[-1] if stated else turn.speaker, bool(stated)))
    (first, one, _), (second, other, is_stated) = sides
    if first == second:
        raise InputError(
            f"correction {number + 1} ({each}): both times are in one turn, from {first.onset_s:g} to "
            f"{first.end_s:g} s",
            hint="a turn is the smallest part that can be corrected",
        )
    if found.root(one) == found.root(other) and not is_stated and not _joined_by_user(found, one, other):
        other = next(name for k in range(1, 10**6) if (name := f"{one}-{k + 1}") not in names)
        names.add(other)
    found.known.append(Known(first.onset_s, first.end_s, one, number))
    found.known.append(Known(second.onset_s, second.end_s, other, number))
    found.apart.append((one, other, number))


def _joined_by_user(found: Constraints, one: str, other: str) -> bool:
    return one != other and found.root(one) == found.root(other)


def _turn_at(time: str, turns: Sequence[Turn], correction: Correction) -> Turn:
    time_s = float(time)
    here = [turn for turn in turns if turn.onset_s <= time_s < turn.end_s]
    if not here:
        nearest = min(turns, key=lambda turn: max(turn.onset_s - time_s, time_s - turn.end_s), default=None)
        raise InputError(
            f"correction ({correction}): nobody speaks at {time_s:g} s",
            hint=None
            if nearest is None
            else f"the nearest turn is {nearest.speaker!r} from {nearest.onset_s:g} to {nearest.end_s:g} s",
        )
    return here[0]


def _refuse_contradiction(found: Constraints, corrections: Sequence[Correction], number: int) -> None:
    """Raise if the corrections up to this one cannot all be true."""

    def refuse(other: int, why: str) -> None:
        raise InputError(
            f"correction {number + 1} ({corrections[number]}) contradicts correction {other + 1} "
            f"({corrections[other]}): {why}",
            hint="leave one of them out",
        )

    for later, one in enumerate(found.known):
        for before in found.known[:later]:
            same_turn = (one.start_s, one.end_s) == (before.start_s, before.end_s)
            if same_turn and found.root(one.speaker) != found.root(before.speaker):
                refuse(
                    before.number if one.number == number else one.number,
                    f"the turn from {one.start_s:g} to {one.end_s:g} s would be both {before.speaker!r} and "
                    f"{one.speaker!r}",
                )
    for first, second, other in found.apart:
        if found.root(first) == found.root(second):
            culprits = [joined for *_, joined in found.joined] or [other]
            against = other if other != number else culprits[-1]
            refuse(against, f"{first!r} and {second!r} would be one person and two")
