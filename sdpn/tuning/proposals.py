"""Which settings a search tries next: a grid, random draws, or what optuna expects to be good.

The first proposal is always ``{}``, the command as it is given. All strategies are deterministic: asked
again with the same seed and the same figures, they propose the same, which is how a search that was stopped
goes on.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from sdpn.errors import InputError
from sdpn.tuning.values import Range, Space

Strategy: TypeAlias = Literal["grid", "random", "optuna"]
Settings: TypeAlias = Mapping[str, object]
#: Settings out, the figure of each in; NaN for a run that failed.
Proposals: TypeAlias = Generator[dict[str, object], float, None]

#: Draws in a row that were all tried before, after which a random search ends.
_IN_VAIN = 100


def propose(strategy: Strategy, space: Space, *, runs: int | None, seed: int, smallest: bool) -> Proposals:
    """Propose settings; the figure of each is sent back for the next (``generator.send``).

    Args:
        strategy: ``grid``: every combination; ``random``: draws without repetition; ``optuna``: its
            tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).
        space: what is tried for each setting.
        runs: proposals at most, the first included; None for all of a grid.
        seed: of the draws.
        smallest: whether small figures are good.

    Raises:
        InputError: a grid of a range, a search without an end, or optuna is not installed.
    """
    if strategy != "grid" and runs is None:
        raise InputError(f"a search with --strategy {strategy} has no end", hint="give --runs N")
    if strategy == "optuna":
        return _limited(_optuna(space, seed, smallest), runs)
    return _limited(_grid(space) if strategy == "grid" else _random(space, seed), runs)


def _limited(found: Proposals, runs: int | None) -> Proposals:
    """The command as it is given, and then what is proposed."""
    yield {}
    number, figure = 1, None
    while runs is None or number < runs:
        try:
            proposal = next(found) if figure is None else found.send(figure)
        except StopIteration:
            return
        figure = yield proposal
        number += 1


def key_of(settings: Settings) -> str:
    """The same for the same settings."""
    return json.dumps(settings, sort_keys=True)


def _grid(space: Space) -> Proposals:
    lists = []
    for key, values in space.items():
        if isinstance(values, Range):
            raise InputError(
                f"--try {key} is a range, of which a grid has no end",
                hint="list its values: KEY=V1,V2,…; or choose --strategy random or optuna",
            )
        lists.append(values)
    for combination in itertools.product(*lists):
        yield dict(zip(space, combination, strict=True))


def _random(space: Space, seed: int) -> Proposals:
    rng = np.random.default_rng(seed)
    before: set[str] = set()
    in_vain = 0
    while in_vain < _IN_VAIN:
        drawn = {
            key: values.draw(rng) if isinstance(values, Range) else values[int(rng.integers(len(values)))]
            for key, values in space.items()
        }
        if key_of(drawn) in before:
            in_vain += 1
            continue
        before.add(key_of(drawn))
        in_vain = 0
        yield drawn


def _optuna(space: Space, seed: int, smallest: bool) -> Proposals:
    try:
        import optuna
    except ImportError:
        raise InputError(
            "--strategy optuna needs optuna, which is not installed", hint="pip install 'sdpn[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize" if smallest else "maximize"
    )
    while True:
        trial = study.ask()
        figure = yield {key: _suggest(trial, key, values) for key, values in space.items()}
        if not np.isfinite(figure):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, figure)


def _suggest(trial: Any, key: str, values: Any) -> object:
    if not isinstance(values, Range):  # by number: optuna's own choices take no lists
        return values[trial.suggest_categorical(key, list(range(len(values))))]
    if values.whole:
        return trial.suggest_int(key, int(values.low), int(values.high), log=values.log)
    return float(f"{trial.suggest_float(key, values.low, values.high, log=values.log):.4g}")
