"""What each layer of a network knows: probes from the spectrum to the speaker.

Shapes: N items, D features of a layer, T frames, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.augmentation.additive_noise import AdditiveNoise, add_noise
from sdpn.augmentation.bands import BANDS, limit_band
from sdpn.augmentation.rooms import simulate_room
from sdpn.errors import InputError
from sdpn.explain.corpus_layers import frames_of_layers, layer_statistics, readable
from sdpn.explain.labels import Token, read_ctm, read_labels_of, tokens_of_frames
from sdpn.explain.layers import chosen_layers
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.phones import phone_class, plain_phone
from sdpn.explain.pitch import track_pitch
from sdpn.explain.probes import ProbeScore, ProbeTask, probe_layer, usable_task
from sdpn.explain.similarity_of_layers import cka_table, ranks
from sdpn.io.audio import RATE_HZ
from sdpn.io.inputs import find_utterances
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder

#: Utterances of a data directory at most: more hardly change a probe.
MOST_UTTERANCES = 500
#: Utterances and frames of each whose frames are probed, and utterances whose words are.
_FRAME_UTTERANCES, _FRAMES_EACH, _WORD_UTTERANCES = 120, 30, 400
#: Classes of phones and words at most: the frequent ones.
_MOST_PHONES, _MOST_WORDS = 40, 25
#: SNR of the noise that is added to read it off again, in dB.
_SNR_DB = (0.0, 30.0)


@dataclass(frozen=True, eq=False)
class LayersFound:
    """What was read off the layers of a network.

    Attributes:
        layers: from the features to the embedding, in order.
        scores: score of every task by layer, in the order of the layers; layers without an output for every
            frame have none for tasks of frames.
        cka: similarity of every layer to every other, (L, L).
        ranks: effective rank by layer.
        num_utterances: how many were heard.
    """

    layers: list[str]
    scores: dict[str, dict[str, ProbeScore]]
    cka: np.ndarray
    ranks: dict[str, float]
    num_utterances: int

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "layers": self.layers,
            "probes": {
                task: {layer: vars(score) for layer, score in by_layer.items()}
                for task, by_layer in self.scores.items()
            },
            "cka": self.cka.round(4).tolist(),
            "effective_rank": self.ranks,
            "utterances": self.num_utterances,
        }


def explain_layers(
    model: Embedder,
    data: Sequence[Path],
    *,
    layers: Sequence[str] | None = None,
    tables: Sequence[Path] = (),
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> LayersFound:
    """Probe every layer for what can be read off it.

    Of every data directory, utterances are probed for the labels in it (`sdpn.explain.labels`) and for their
    duration; copies of them in a room or over a telephone and with noise for channel and SNR; frames for
    energy, F0 and voicing, and where there is ``phones.ctm`` for phone and phone class; words where there is
    ``words.ctm``.

    Args:
        model: the model.
        data: Kaldi data directories, or folders of recordings.
        layers: names or numbers; None: the main layers.
        tables: further tables of labels.
        seed: random seed of choices, copies and splits.
        on_progress: called with (done, total) utterances.

    Raises:
        InputError: no such layer (the message lists those that there are), or the data cannot be read.
    """
    network = ExplainedNetwork(model)
    names = chosen_layers(network.encoder, layers)
    corpora = [(folder, _chosen(find_utterances(folder, []), seed)) for folder in data]
    total = sum(2 * len(utterances) + min(_FRAME_UTTERANCES, len(utterances)) for _, utterances in corpora)
    done = 0

    def step(*_: int) -> None:
        nonlocal done
        done += 1
        on_progress(min(done, total), total)

    scores: dict[str, dict[str, ProbeScore]] = {}
    similarity: tuple[np.ndarray, dict[str, float], list[str]] | None = None
    heard = 0
    for folder, utterances in corpora:
        plain = layer_statistics(network, utterances, names, on_progress=step)
        heard += len(plain.utterances)
        labels = read_labels_of(plain.utterances, folder if folder.is_dir() else None, tables)
        groups = _speakers(plain.utterances)
        tasks = [
            ProbeTask(name, values, None if name == "speaker" else groups) for name, values in labels.items()
        ]
        tasks.append(ProbeTask("duration", np.log(plain.durations_s), groups))
        _add(scores, plain.rows, tasks, seed)
        if similarity is None:
            similarity = cka_table(plain.rows, plain.rows), ranks(plain.rows), list(plain.rows)
        changer = _Changes(len(utterances), seed)
        changed = layer_statistics(network, utterances, names, change=changer, on_progress=step)
        kept = [index for index, one in enumerate(utterances) if one in set(changed.utterances)]
        groups = _speakers(changed.utterances)
        tasks = [
            ProbeTask("channel", changer.channels[kept], groups),
            ProbeTask("SNR", changer.snr_db[kept], groups),
        ]
        _add(scores, changed.rows, tasks, seed)
        _add_frames(scores, network, utterances, folder, names, seed, step)
    assert similarity is not None
    table, rank, order = similarity
    return LayersFound(order, scores, table, rank, heard)


class _Changes:
    """Copies in a room or over a telephone, with pink noise; which and how much is known."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng((seed, 7))
        self.channels = rng.choice(["as recorded", "telephone", "room"], count).astype(str)
        self.snr_db = rng.uniform(*_SNR_DB, count)
        self._seed = seed

    def __call__(self, wave_S: np.ndarray, index: int) -> np.ndarray:
        from scipy.signal import oaconvolve

        rng = np.random.default_rng((self._seed, index))
        if self.channels[index] == "room":
            wave_S = oaconvolve(wave_S, simulate_room(float(rng.uniform(0.3, 0.8)), rng))[: len(wave_S)]
        spectrum = np.fft.rfft(rng.standard_normal(len(wave_S)))
        pink_S = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), len(wave_S))
        noise = AdditiveNoise("noise", pink_S.astype(np.float32), float(self.snr_db[index]))
        noisy_S = add_noise(wave_S.astype(np.float32), noise)
        return limit_band(noisy_S, BANDS["telephone"]) if self.channels[index] == "telephone" else noisy_S


def _add(
    scores: dict[str, dict[str, ProbeScore]],
    rows: Mapping[str, np.ndarray],
    tasks: Sequence[ProbeTask],
    seed: int,
) -> None:
    """Probe all layers for tasks not probed yet: the first data directory that has a label counts."""
    usable = [one for task in tasks if task.name not in scores and (one := usable_task(task)) is not None]
    for layer, rows_ND in rows.items():
        for score in probe_layer(rows_ND, usable, seed=seed):
            scores.setdefault(score.task, {})[layer] = score


def _add_frames(
    scores: dict[str, dict[str, ProbeScore]],
    network: ExplainedNetwork,
    utterances: Sequence[Utterance],
    folder: Path,
    names: Sequence[str],
    seed: int,
    step: Callable[..., None],
) -> None:
    """Probe frames for energy, F0 and voicing, and phones and words where their times are known."""
    tokens: dict[str, dict[str, list[Token]]] = {
        kind: read_ctm(folder / f"{kind}.ctm") if (folder / f"{kind}.ctm").is_file() else {}
        for kind in ("phones", "words")
    }
    wanted = ("energy", "F0", "voicing")
    if not tokens["phones"] and all(name in scores for name in wanted):
        return
    rng = np.random.default_rng((seed, 11))
    rows: dict[str, list[np.ndarray]] = {}
    words: dict[str, list[np.ndarray]] = {}
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*wanted, "phone", "speaker")}
    spoken: list[str] = []
    word_groups: list[str] = []
    most = _WORD_UTTERANCES if tokens["words"] else _FRAME_UTTERANCES
    for number, (_, utterance, wave_S) in enumerate(readable(utterances[:most])):
        outputs, num_frames = frames_of_layers(network, wave_S[: 20 * RATE_HZ], names)
        group = utterance.speaker or utterance.id
        for token in tokens["words"].get(utterance.id, []):
            first, last = (round(seconds / network.hop_s) for seconds in (token.start_s, token.end_s))
            if last - first >= 3 and last <= num_frames:
                for layer, rows_TD in outputs.items():
                    words.setdefault(layer, []).append(rows_TD[first:last].mean(0))
                spoken.append(token.token.lower())
                word_groups.append(group)
        if number < _FRAME_UTTERANCES:
            step()
            at = np.sort(rng.choice(num_frames, min(_FRAMES_EACH, num_frames), replace=False))
            pitch = track_pitch(wave_S, num_frames, network.hop_s)
            for layer, rows_TD in outputs.items():
                rows.setdefault(layer, []).append(rows_TD[at])
            labels = tokens_of_frames(tokens["phones"].get(utterance.id, []), num_frames, network.hop_s)
            found["phone"].append(labels[at])
            found["energy"].append(pitch.level_db[at])
            found["F0"].append(np.log2(pitch.f0_hz[at]))
            found["voicing"].append(np.where(pitch.is_voiced[at], "voiced", "unvoiced"))
            found["speaker"].append(np.full(len(at), group))
    if not rows:
        return
    label = {name: np.concatenate(values) for name, values in found.items()}
    phones = np.array([plain_phone(phone) if phone else "" for phone in label["phone"].tolist()])
    classes = np.array([phone_class(phone) if phone else "" for phone in label["phone"].tolist()])
    groups = label["speaker"]
    tasks = [ProbeTask(name, label[name], groups) for name in wanted]
    tasks += [
        ProbeTask("phone class", classes, groups),
        ProbeTask("phone", _frequent(phones, _MOST_PHONES), groups),
    ]
    _add(scores, {layer: np.concatenate(each) for layer, each in rows.items()}, tasks, seed)
    if spoken:
        task = ProbeTask("word", _frequent(np.array(spoken), _MOST_WORDS), np.array(word_groups))
        _add(scores, {layer: np.stack(each) for layer, each in words.items()}, [task], seed)


def _frequent(labels: np.ndarray, most: int) -> np.ndarray:
    """The most frequent labels; the others are empty."""
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    kept = set(names[np.argsort(-counts, kind="stable")][:most].tolist())
    return np.array([label if label in kept else "" for label in labels.tolist()])


def _chosen(utterances: Sequence[Utterance], seed: int) -> list[Utterance]:
    """At most so many, drawn at random, in their order."""
    if len(utterances) <= MOST_UTTERANCES:
        return list(utterances)
    kept = np.sort(np.random.default_rng(seed).choice(len(utterances), MOST_UTTERANCES, replace=False))
    return [utterances[index] for index in kept]


def _speakers(utterances: Sequence[Utterance]) -> np.ndarray:
    return np.array([utterance.speaker or utterance.id for utterance in utterances])


def hierarchy(found: LayersFound) -> list[tuple[str, str]]:
    """Every task with the layer that it is read off best, in the order of the layers.

    Raises:
        InputError: nothing could be probed.
    """
    if not found.scores:
        raise InputError("nothing could be probed: too few utterances, or all alike")
    order = {layer: number for number, layer in enumerate(found.layers)}
    best = [
        (task, max(by_layer, key=lambda layer: by_layer[layer].score))
        for task, by_layer in found.scores.items()
    ]
    return sorted(best, key=lambda item: order[item[1]])
