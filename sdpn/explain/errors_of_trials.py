"""The errors of a trial list: where they are, which are the worst, and what the network heard in those.

Shapes: M utterances, N trials, D embedding.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from sdpn.errors import InputError
from sdpn.explain.hearing import hear
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import PageFigure, PageSection, PageTable
from sdpn.explain.pair import PairExplained, explain_pair, pair_sections
from sdpn.explain.pictures import draw_group_rates
from sdpn.explain.trial_groups import GroupRates, group_trials, rates_of_groups
from sdpn.explain.utterance_facts import FACTS, measure_facts
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.kaldi import Utterance
from sdpn.io.trials import Trials
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.progress import Report, unreported

#: Nearest utterances of either side of an error that are listed, and utterances in most errors.
_NEIGHBOURS, _MOST_INVOLVED = 5, 10

ErrorKind: TypeAlias = Literal["false accept", "false reject"]

#: An utterance near another: its id, cosine and speaker, empty where unknown.
Neighbour: TypeAlias = tuple[str, float, str]


@dataclass(frozen=True, kw_only=True)
class TrialError:
    """A trial on the wrong side of the threshold.

    Attributes:
        kind: ``false accept`` or ``false reject``.
        score: its cosine.
        utterances: ids of the two.
        speakers: of the two; empty where unknown.
        facts: of the two, by name (`sdpn.explain.utterance_facts.FACTS`); NaN where unknown.
        labels: of the two, by name; empty where unknown.
        neighbours: of either utterance, the nearest others.
        pair: the two explained, if they are.
    """

    kind: ErrorKind
    score: float
    utterances: tuple[str, str]
    speakers: tuple[str, str]
    facts: Mapping[str, tuple[float, float]]
    labels: Mapping[str, tuple[str, str]]
    neighbours: tuple[list[Neighbour], list[Neighbour]]
    pair: PairExplained | None = None

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "kind": self.kind,
            "score": self.score,
            "utterances": list(self.utterances),
            "speakers": list(self.speakers),
            **{name: [_known(value) for value in sides] for name, sides in self.facts.items()},
            "labels": {name: list(sides) for name, sides in self.labels.items()},
            "neighbours": [[list(item) for item in side] for side in self.neighbours],
            **({} if self.pair is None else {"explained": self.pair.to_dict()}),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class TrialsExplained:
    """A trial list and its errors.

    Attributes:
        eer: equal error rate, in [0, 1].
        threshold: cosine that decides: that of the EER, or the one that was given.
        num_errors: false accepts and false rejects at the threshold.
        num_trials: non-target and target trials.
        errors: the worst of either kind, the worst first; the first few with their maps.
        groups: error rates by duration, SNR, language and the like.
        involved: utterances in most errors: (id, speaker, errors, trials).
        notes: what a reader has to know.
    """

    eer: float
    threshold: float
    num_errors: tuple[int, int]
    num_trials: tuple[int, int]
    errors: list[TrialError]
    groups: list[GroupRates]
    involved: list[tuple[str, str, int, int]]
    notes: list[str] = field(default_factory=list)

    @property
    def explained(self) -> list[TrialError]:
        """The errors with maps."""
        return [one for one in self.errors if one.pair is not None]

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "eer": self.eer,
            "threshold": self.threshold,
            "false_accepts": self.num_errors[0],
            "false_rejects": self.num_errors[1],
            "num_nontarget": self.num_trials[0],
            "num_target": self.num_trials[1],
            "errors": [one.to_dict() for one in self.errors],
            "groups": [_group(one) for one in self.groups],
            "involved": [list(one) for one in self.involved],
            "notes": self.notes,
        }


def explain_trials(
    network: ExplainedNetwork,
    trials: Trials,
    utterances: Sequence[Utterance],
    *,
    worst: int = 3,
    listed: int = 20,
    threshold: float | None = None,
    vectors: Mapping[str, np.ndarray] | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    on_progress: Report = unreported,
) -> TrialsExplained:
    """Score trials, say where their errors are, and explain the worst of either kind.

    Args:
        network: the network.
        trials: the trials.
        utterances: those in the trials, and maybe others, which can be neighbours.
        worst: errors of each kind that are explained by maps.
        listed: errors of each kind that are listed.
        threshold: cosine from which on a trial is accepted; None takes that of the EER.
        vectors: embeddings by id, which are otherwise computed.
        labels: of the utterances, from `sdpn.explain.labels.read_labels_of`.
        methods: as `sdpn.explain.utterance.explain_utterance`.
        seed: random seed of the masks and of the bootstrap.
        on_progress: called with what is done, how much of it, and of how much.

    Raises:
        InputError: an utterance is missing or cannot be read, or there are no target or no non-target trials.
    """
    by_id = {utterance.id: index for index, utterance in enumerate(utterances)}
    for name in trials.ids:
        if name not in by_id:
            raise InputError(f"contains {name!r}, which is not in the data", path=trials.path)
    if trials.is_target.all() or not trials.is_target.any():
        raise InputError("needs target and non-target trials", path=trials.path)
    unit_MD = _unit_rows(network, utterances, vectors, on_progress)
    place = np.array([by_id[name] for name in trials.ids])
    first, second = place[trials.first], place[trials.second]
    scores = np.einsum("nd,nd->n", unit_MD[first], unit_MD[second])
    eer, equal = equal_error_rate(error_rates(scores, trials.is_target))
    decides = equal if threshold is None else threshold
    # in the order of the trials' own utterances: data may hold many more, which need not be measured
    chosen = [utterances[at] for at in place.tolist()]
    facts = measure_facts(chosen, on_progress=lambda done, of: on_progress("measuring", done, of))
    own_labels = {name: values[place] for name, values in (labels or {}).items()}
    groups, notes = _groups(trials, scores, decides, chosen, facts, own_labels, seed)
    accepted = scores >= decides
    wrong = accepted != trials.is_target
    errors = []
    for kind, sign, at in (
        ("false accept", -1, np.flatnonzero(accepted & ~trials.is_target)),
        ("false reject", 1, np.flatnonzero(~accepted & trials.is_target)),
    ):
        order = at[np.argsort(sign * scores[at], kind="stable")][: max(worst, listed)]
        near = _neighbours(unit_MD, utterances, np.concatenate([first[order], second[order]]))
        for number, trial in enumerate(order.tolist()):
            sides = (int(trials.first[trial]), int(trials.second[trial]))
            pair = None
            if number < worst:
                hearings = [hear(network, chosen[side]) for side in sides]
                pair = explain_pair(network, hearings[0], hearings[1], methods=methods, seed=seed)
            errors.append(
                TrialError(
                    kind=kind,  # type: ignore[arg-type]
                    score=float(scores[trial]),
                    utterances=(chosen[sides[0]].id, chosen[sides[1]].id),
                    speakers=(chosen[sides[0]].speaker or "", chosen[sides[1]].speaker or ""),
                    facts={
                        name: (float(values[sides[0]]), float(values[sides[1]]))
                        for name, values in facts.items()
                    },
                    labels={
                        name: (str(values[sides[0]]), str(values[sides[1]]))
                        for name, values in own_labels.items()
                        if name != "speaker"
                    },
                    neighbours=(near[number], near[len(order) + number]),
                    pair=pair,
                )
            )
    return TrialsExplained(
        eer=eer,
        threshold=decides,
        num_errors=(int((wrong & ~trials.is_target).sum()), int((wrong & trials.is_target).sum())),
        num_trials=(int((~trials.is_target).sum()), int(trials.is_target.sum())),
        errors=errors,
        groups=groups,
        involved=_involved(trials, wrong, chosen),
        notes=notes,
    )


def _unit_rows(
    network: ExplainedNetwork,
    utterances: Sequence[Utterance],
    vectors: Mapping[str, np.ndarray] | None,
    on_progress: Report,
) -> np.ndarray:
    """Embeddings of length 1, (M, D)."""
    if vectors is None:
        embedded = embed_corpus(
            network.embedder, utterances, on_progress=lambda done, of: on_progress("embedding", done, of)
        )
        rows = [each.embeddings_ND[0] for each in embedded]
    else:
        for one in utterances:
            if one.id not in vectors:
                raise InputError(f"utterance {one.id!r} has no embedding", path=one.path)
        rows = [vectors[one.id] for one in utterances]
    unit_MD = np.stack(rows)
    return unit_MD / np.maximum(1e-12, np.linalg.norm(unit_MD, axis=1, keepdims=True))


def _groups(
    trials: Trials,
    scores: np.ndarray,
    threshold: float,
    utterances: Sequence[Utterance],
    facts: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    seed: int,
) -> tuple[list[GroupRates], list[str]]:
    """Error rates by group, and notes on them."""
    names = [one.speaker for one in utterances]
    notes = []
    speakers = None
    if all(names):
        _, number_M = np.unique(np.array(names, dtype=str), return_inverse=True)
        speakers = (number_M[trials.first], number_M[trials.second])
        against = int(((speakers[0] == speakers[1]) != trials.is_target).sum())
        if against:
            notes.append(f"{against:,} trials contradict the speakers of the data: one of the two is wrong.")
            speakers = None
    notes.append(
        "Intervals: 95 %, bootstrap over "
        + ("trials, as if they were independent." if speakers is None else "speakers.")
    )
    return (
        rates_of_groups(
            group_trials(trials.first, trials.second, facts, labels),
            scores,
            trials.is_target,
            threshold,
            speakers=speakers,
            seed=seed,
        ),
        notes,
    )


def _involved(
    trials: Trials, wrong_N: np.ndarray, utterances: Sequence[Utterance]
) -> list[tuple[str, str, int, int]]:
    """Utterances in most errors."""
    sides = np.concatenate([trials.first, trials.second])
    both = np.concatenate([wrong_N, wrong_N])
    total_M = np.bincount(sides, minlength=len(utterances))
    wrong_M = np.bincount(sides[both], minlength=len(utterances))
    order = np.argsort(-wrong_M, kind="stable")[:_MOST_INVOLVED]
    return [
        (utterances[at].id, utterances[at].speaker or "", int(wrong_M[at]), int(total_M[at]))
        for at in order.tolist()
        if wrong_M[at]
    ]


def _neighbours(
    unit_MD: np.ndarray, utterances: Sequence[Utterance], of: np.ndarray
) -> list[list[Neighbour]]:
    """The nearest others of some utterances, a few rows of cosines at a time."""
    found = []
    for at in of.tolist():
        cosine_M = unit_MD @ unit_MD[at]
        cosine_M[at] = -np.inf
        few = min(_NEIGHBOURS, len(cosine_M) - 1)
        nearest = np.argpartition(-cosine_M, few)[:few] if few else np.zeros(0, dtype=int)
        found.append(
            [
                (utterances[other].id, float(cosine_M[other]), utterances[other].speaker or "")
                for other in nearest[np.argsort(-cosine_M[nearest], kind="stable")].tolist()
            ]
        )
    return found


def overview_section(found: TrialsExplained) -> PageSection:
    """What all errors have in common: rates by group, the list of the worst, and who is in most of them."""
    figures = []
    if found.groups:
        overall = (found.num_errors[1] / found.num_trials[1], found.num_errors[0] / found.num_trials[0])
        figures = [
            PageFigure(
                "Error rates by group",
                draw_group_rates(found.groups, overall),
                "Share of missed targets and of false alarms at the one threshold; bars: 95 % interval; "
                "dashed: all trials.",
            )
        ]
    header, rows = group_table(found.groups)
    tables = [PageTable("By group", header, rows)]
    for kind in ("false accept", "false reject"):
        chosen = [one for one in found.errors if one.kind == kind]
        if chosen:
            header, rows = error_table(chosen)
            tables.append(PageTable(f"The worst: {kind}", header, rows))
    involved = [[name, who or "unknown", str(wrong), str(of)] for name, who, wrong, of in found.involved]
    tables.append(PageTable("In most errors", ["utterance", "speaker", "errors", "trials"], involved))
    return PageSection("Where the errors are", found.notes, tables, figures)


def group_table(groups: Sequence[GroupRates]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the rates by group."""
    header = [
        "group",
        "speakers",
        "targets",
        "missed %",
        "95 %",
        "others",
        "false alarms %",
        "95 %",
        "own EER %",
    ]
    return header, [
        [
            f"{one.grouping}: {one.group}",
            "" if one.num_speakers is None else f"{one.num_speakers:,}",
            f"{one.num_target:,}",
            _percent(one.miss),
            "" if one.miss_interval is None else _range(one.miss_interval.low, one.miss_interval.high),
            f"{one.num_nontarget:,}",
            _percent(one.false_alarm),
            ""
            if one.false_alarm_interval is None
            else _range(one.false_alarm_interval.low, one.false_alarm_interval.high),
            _percent(one.eer),
        ]
        for one in groups
    ]


def error_table(errors: Sequence[TrialError]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of errors: scores, facts and labels of both sides, and the nearest other of each."""
    labels = sorted({name for one in errors for name in one.labels})
    header = [
        "trial",
        "cosine",
        "speakers",
        *(title for title, _ in FACTS.values()),
        *labels,
        "nearest to each",
    ]
    return header, [
        [
            " and ".join(one.utterances),
            f"{one.score:.3f}",
            _two(one.speakers),
            *(_two([_shown(value, form) for value in one.facts[name]]) for name, (_, form) in FACTS.items()),
            *(_two(one.labels[name]) for name in labels),
            _two([f"{side[0][0]} ({side[0][1]:.2f})" if side else "" for side in one.neighbours]),
        ]
        for one in errors
    ]


def errors_as_csv(errors: Sequence[TrialError]) -> str:
    """One line for each error; numbers as measured, empty where unknown."""
    labels = sorted({name for one in errors for name in one.labels})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    sided = [f"{name} {side}" for name in ("utterance", "speaker", *FACTS, *labels) for side in (1, 2)]
    writer.writerow(["kind", "cosine", *sided, "nearest 1", "nearest 2"])
    for one in errors:
        values: list[Any] = [one.kind, f"{one.score:.6f}", *one.utterances, *one.speakers]
        values += ["" if np.isnan(value) else f"{value:.6g}" for name in FACTS for value in one.facts[name]]
        values += [text for name in labels for text in one.labels[name]]
        values += [" ".join(name for name, _, _ in side) for side in one.neighbours]
        writer.writerow(values)
    return stream.getvalue()


def error_sections(found: TrialError, threshold: float) -> list[PageSection]:
    """The parts of the page of one error that is explained."""
    assert found.pair is not None
    header = ["utterance", "speaker", *(title for title, _ in FACTS.values()), *found.labels]
    facts = [
        [
            name,
            found.speakers[side] or "unknown",
            *(_shown(found.facts[fact][side], form) for fact, (_, form) in FACTS.items()),
            *(values[side] or "unknown" for values in found.labels.values()),
        ]
        for side, name in enumerate(found.utterances)
    ]
    tables = [PageTable("The two utterances", header, facts)]
    for name, neighbours in zip(found.utterances, found.neighbours, strict=True):
        rows = [[other, f"{cosine:.3f}", speaker or "unknown"] for other, cosine, speaker in neighbours]
        tables.append(PageTable(f"Nearest to {name}", ["utterance", "cosine", "speaker"], rows))
    note = f"Cosine {found.score:.3f}, threshold {threshold:.3f}."
    return [PageSection(found.kind.capitalize(), [note], tables), *pair_sections(found.pair)]


def _group(one: GroupRates) -> dict[str, object]:
    plain = one._asdict()
    for key in ("miss_interval", "false_alarm_interval"):
        plain[key] = None if plain[key] is None else [plain[key].low, plain[key].high]
    return plain


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _shown(value: float, form: str) -> str:
    return "unknown" if np.isnan(value) else form.format(value)


def _two(sides: Sequence[str]) -> str:
    first, second = (side or "unknown" for side in sides)
    return f"{first} | {second}"


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def _range(low: float, high: float) -> str:
    return f"[{100 * low:.2f}, {100 * high:.2f}]"
