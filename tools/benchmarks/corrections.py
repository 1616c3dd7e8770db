"""DER against the number of corrections, by a simulated user who always corrects the largest error.

    python tools/benchmarks/confidence.py embed --data corpora --out exp/confidence --part dev --name fast
    python tools/benchmarks/corrections.py --out exp/confidence --name fast

The user knows the reference, and says either that a turn is somebody's, or that two speakers are one,
whichever corrects more seconds; then the windows are clustered again (`sdpn.editing.recluster`). Beside it,
the same corrections without propagation: only the turns that they name change.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from confidence import Example, read_examples
from scipy.optimize import linear_sum_assignment

from sdpn.clustering.registry import make_clusterer
from sdpn.diarization.pipeline import label_recording
from sdpn.editing.corrections import Correction, constraints_of
from sdpn.editing.edit import correct
from sdpn.errors import InputError
from sdpn.io.rttm import Turn, from_annotation
from sdpn.metrics.diarization import DerComponents, score_recordings, total_figures


def main() -> None:
    """Print the DER after each number of corrections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="of tools/benchmarks/confidence.py")
    parser.add_argument("--part", choices=("train", "dev"), default="dev")
    parser.add_argument("--name", default="fast", help="of the embeddings")
    parser.add_argument("--after", type=int, nargs="+", default=[0, 1, 3, 10])
    args = parser.parse_args()
    examples = [
        each
        for each in read_examples(args.out, args.part, args.name)
        if each.embedded.speech and each.condition not in ("one speaker", "half minutes")
    ]
    print(f"{len(examples)} conversations; DER % after {args.after} corrections")
    for propagates in (True, False):
        rates = [[] for _ in args.after]  # type: list[list[DerComponents]]
        for example in examples:
            for place, components in enumerate(session(example, args.after, propagates)):
                rates[place].append(components)
        shown = [
            f"{100 * sum(one.error_s for one in each) / sum(one.total_s for one in each):.1f}"
            for each in rates
        ]
        print(f"{'propagated' if propagates else 'only the turns named'}: {' '.join(shown)}", flush=True)


def session(example: Example, after: Sequence[int], propagates: bool) -> list[DerComponents]:
    """What is wrong after each number of corrections of one conversation."""
    embedded = example.embedded
    recording = embedded.recording
    reference = [
        Turn(recording, turn.onset_s, turn.duration_s, f"ref {turn.speaker}") for turn in example.turns
    ]
    labelled = label_recording(embedded, make_clusterer("merging"))
    original = from_annotation(labelled.exclusive, recording)
    corrections: list[Correction] = []
    turns, found = original, []
    for number in range(max(after) + 1):
        if number in after:
            scored = score_recordings({recording: reference}, {recording: turns})
            found.append(total_figures(scored).components)
        one = largest(turns, original, reference, corrections)
        if one is None:
            continue
        corrections.append(one)
        if propagates:
            turns = from_annotation(
                correct(embedded, original, constraints_of(corrections, original))[0].exclusive, recording
            )
        else:
            turns = named_only(original, corrections)
    return found


def named_only(original: Sequence[Turn], corrections: Sequence[Correction]) -> list[Turn]:
    """The turns with the corrections, and nothing that follows from them."""
    constraints = constraints_of(corrections, original)
    stated = {(known.start_s, known.end_s): known.speaker for known in constraints.known}
    return [
        Turn(
            turn.recording,
            turn.onset_s,
            turn.duration_s,
            constraints.root(stated.get((turn.onset_s, turn.end_s), turn.speaker)),
        )
        for turn in original
    ]


def largest(
    turns: Sequence[Turn],
    original: Sequence[Turn],
    reference: Sequence[Turn],
    before: Sequence[Correction],
) -> Correction | None:
    """The correction that sets most seconds right, of those that contradict no earlier one."""
    labels, people = sorted({turn.speaker for turn in turns}), sorted({turn.speaker for turn in reference})
    shared = shared_seconds(turns, labels, reference, people)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    of_label = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    label_of = {person: label for label, person in of_label.items()}
    choices: list[tuple[float, Correction]] = []
    for row, label in enumerate(labels):
        person = int(shared[row].argmax())
        holder = label_of.get(person)
        if holder is not None and holder != row and shared[row].max() > 0.5 * shared[row].sum():
            choices.append((float(shared[row].max()), Correction("same", labels[holder], label)))
    for turn in original:
        each = shared_seconds([turn], [turn.speaker], reference, people)[0]
        person = int(each.argmax())
        now = at(turns, turn)
        if each.max() <= 0 or now is None or of_label.get(labels.index(now)) == person:
            continue
        name = labels[label_of[person]] if person in label_of else people[person]
        wrong_s = float(
            each.max() - (each[of_label[labels.index(now)]] if labels.index(now) in of_label else 0)
        )
        choices.append((wrong_s, Correction("is", f"{(turn.onset_s + turn.end_s) / 2:.3f}", name)))
    for seconds, one in sorted(choices, key=lambda choice: (-choice[0], str(choice[1]))):
        if seconds <= 0.1:
            break
        try:
            constraints_of([*before, one], original)
        except InputError:
            continue
        return one
    return None


def at(turns: Sequence[Turn], turn: Turn) -> str | None:
    """Who speaks in the middle of a turn."""
    middle_s = (turn.onset_s + turn.end_s) / 2
    return next((each.speaker for each in turns if each.onset_s <= middle_s < each.end_s), None)


def shared_seconds(
    turns: Sequence[Turn], labels: Sequence[str], reference: Sequence[Turn], people: Sequence[str]
) -> np.ndarray:
    """Seconds that labels and people share, (labels, people)."""
    shared = np.zeros((len(labels), len(people)))
    for turn in turns:
        for other in reference:
            seconds = min(turn.end_s, other.end_s) - max(turn.onset_s, other.onset_s)
            shared[labels.index(turn.speaker), people.index(other.speaker)] += max(seconds, 0.0)
    return shared


if __name__ == "__main__":
    main()
