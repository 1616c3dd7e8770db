"""The figures of methods and of layers, as parts of a page."""

from __future__ import annotations

from collections.abc import Mapping

from sdpn.explain.faithfulness import Measured, MethodFigures
from sdpn.explain.layers_report import LayersFound, hierarchy
from sdpn.explain.methods import METHODS
from sdpn.explain.page import PageFigure, PageSection, PageTable
from sdpn.explain.pictures import draw_bars, draw_layers, draw_similarity

#: Header of `method_rows`.
METHOD_HEADER = (
    "method", "localisation", "random − deletion", "insertion − random", "ρ with random weights",
    "localisation, random weights", "ρ with noise", "ρ with the others", "verdict",
)  # fmt: skip


def method_rows(found: Mapping[str, MethodFigures]) -> list[list[str]]:
    """A row for each method."""
    return [
        [
            METHODS[name].title,
            *(
                _measured(value)
                for value in (
                    one.localisation, one.deletion, one.insertion, one.randomised,
                    one.randomised_localisation, one.stability,
                )
            ),
            "–" if one.agreement is None else f"{one.agreement:.2f}",
            "; ".join(one.faults) or "kept",
        ]
        for name, one in found.items()
    ]  # fmt: skip


def methods_section(found: Mapping[str, MethodFigures]) -> PageSection:
    """The part of a page about methods."""
    table = PageTable(
        "Figures with 95 % intervals over pairs",
        METHOD_HEADER,
        method_rows(found),
        "Localisation: share of positive relevance in the half of an utterance where the speaker is; chance "
        "is 0.5. Deletion and insertion: scores with the most and the least relevant parts hidden, against "
        "random masks. ρ: rank correlation of maps over 0.2 s.",
    )
    shares = {METHODS[name].title: one.localisation.mean for name, one in found.items()}
    redrawn = {METHODS[name].title: one.randomised_localisation.mean for name, one in found.items()}
    figure = PageFigure(
        "Planted evidence",
        draw_bars(shares, label="share placed right; the mark is that with random weights", marks=redrawn),
    )
    return PageSection("Methods", (), [table], [figure])


def layers_section(found: LayersFound) -> PageSection:
    """The part of a page about the layers of a model."""
    rows = []
    for task, by_layer in found.scores.items():
        any_score = next(iter(by_layer.values()))
        rows.append(
            [
                task,
                *(f"{by_layer[layer].score:.2f}" if layer in by_layer else "–" for layer in found.layers),
                f"{any_score.chance:.2f}",
                f"{max(score.control for score in by_layer.values()):.2f}",
                f"{any_score.num_items:,}",
            ]
        )
    table = PageTable(
        "Probes",
        ["task", *found.layers, "chance", "shuffled (largest)", "items"],
        rows,
        "Balanced accuracy of classes, R² of numbers, cross-validated; speakers are on one side of a split.",
    )
    notes = [f"{found.num_utterances:,} utterances."]
    if found.scores:
        best = ", ".join(f"{task} ({layer})" for task, layer in hierarchy(found))
        notes.append(f"Read off best, from the spectrum to the speaker: {best}.")
    return PageSection(
        "Layers",
        notes,
        [table],
        [
            PageFigure("What each depth knows", draw_layers(found.layers, found.scores)),
            PageFigure(
                "Similarity of the layers",
                draw_similarity(found.cka, found.layers, found.layers, names=("layer", "layer")),
                "Linear CKA on the utterances of the first data directory.",
            ),
            PageFigure(
                "Effective rank", draw_bars(found.ranks, label="directions that the utterances spread over")
            ),
        ],
    )


def _measured(value: Measured) -> str:
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"
