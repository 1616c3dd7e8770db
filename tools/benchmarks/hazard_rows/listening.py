"""Samples, crops, features and files: hazards 10 to 14, 17 and 18.

Shapes: B batch, S samples, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hazard_rows.objective import koleo_without_floor
from hazard_rows.row import Context, Measured, Skip, in_turn
from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.config import load_config
from sdpn.data.crops import CropConfig, crop
from sdpn.data.dataset import CropDataset
from sdpn.distill import losses
from sdpn.distill.base import SelfDistillation
from sdpn.features.log_mel import FeatureConfig, LogMel
from sdpn.io import audio
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder
from sdpn.training.config import RunConfig
from sdpn.training.pretrain import build

#: Published crops: 4 s and 2 s.
_GLOBAL_S, _LOCAL_S = 4.0, 2.0

#: Published features: frames stand around every hop, mean and variance are normalised.
_PUBLISHED = FeatureConfig(low_hz=0.0, high_hz=8000.0, centred=True, normalisation="mean-variance")


def _network(context: Context) -> tuple[SelfDistillation, str]:
    """The trained network, or the mini recipe's as initialised."""
    try:
        return context.run.network, "trained"
    except Skip:
        torch.manual_seed(0)
        return build(load_config(RunConfig)), "untrained"


def digital_silence(context: Context) -> Measured:
    """Hazard 10: short files padded with zeros, crops of nothing but zeros."""
    network, which = _network(context)
    rng = np.random.default_rng(0)
    crops_BS = torch.from_numpy(rng.standard_normal((32, int(1.5 * RATE_HZ))).astype(np.float32) * 0.05)
    crops_BS[:2] = 0.0
    with torch.no_grad():
        rows_BD = network.student.train().encoder(network.features(crops_BS))
    distance = float((normalize(rows_BD[0], dim=0) - normalize(rows_BD[1], dim=0)).norm())
    plain = float(koleo_without_floor(rows_BD.unsqueeze(0)))
    ours = float(losses.koleo(rows_BD.unsqueeze(0)))
    refused = crop(np.zeros(4 * RATE_HZ, np.float32), RATE_HZ, rng) is None
    figures = {"distance": distance, "plain": plain, "floored": ours, "refused": float(refused)}
    parts = [
        f"Two all-zero crops among 32, {which} mini net: distance **{distance:g}**, KoLeo without floor "
        f"**{plain:g}**, with it {ours:.2f}; the sampler gives no such crop."
    ]
    try:
        lengths_s = np.array([audio.info(utterance.path).duration_s for utterance in context.utterances])
        short = float((lengths_s < _GLOBAL_S).mean())
        silent, zeros = _padded(lengths_s)
        parts.append(
            f"Of {len(lengths_s):,} training utterances **{short:.0%}** are shorter than {_GLOBAL_S:g} s. "
            f"Padded to that, {zeros:.0%} of the samples in crops of {_LOCAL_S:g} s would be zeros and "
            f"{silent:.2%} of those crops nothing else."
        )
        figures |= {"short": short, "silent_crops": silent, "zeros": zeros}
    except Skip as skip:
        parts.append(f"Share of short utterances: skipped, {skip}.")
    return Measured(" ".join(parts), figures)


def _padded(lengths_s: np.ndarray) -> tuple[float, float]:
    """Of local crops at any place of utterances padded to a global crop: share silent; share of zeros."""
    starts_s = np.linspace(0, 1, 1001)[:, None] * (np.maximum(lengths_s, _GLOBAL_S) - _LOCAL_S)
    speech_s = np.clip(lengths_s - starts_s, 0, _LOCAL_S)
    return float((speech_s == 0).mean()), float(1 - speech_s.mean() / _LOCAL_S)


def off_by_one(context: Context) -> Measured:
    """Hazard 11: start = randint(0, length − crop) with an exclusive end."""
    num_samples = round(_GLOBAL_S * RATE_HZ)
    wave = np.arange(1, num_samples + 11, dtype=np.float32)

    def plain(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        start = int(rng.integers(0, len(wave) - num_samples))
        return wave[start : start + num_samples]

    def ours(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        return crop(wave, num_samples, rng)

    crashes = []
    for cut in (plain, ours):
        try:
            cut(wave[:num_samples], np.random.default_rng(0))
            crashes.append(0.0)
        except ValueError:
            crashes.append(1.0)
    shares = []
    for cut in (plain, ours):
        rng = np.random.default_rng(0)
        firsts = [piece[0] for _ in range(2200) if (piece := cut(wave, rng)) is not None]
        shares.append(sum(first == 11 for first in firsts) / len(firsts))
    parts = [
        f"A file of exactly {num_samples:,} samples: {'**crash**' if crashes[0] else 'no crash'} → "
        f"{'crash' if crashes[1] else '**a crop**'}. The last of 11 offsets is drawn in **{shares[0]:.1%} → "
        f"{shares[1]:.1%}** of 2,200 crops (1/11 = 9.1 %)."
    ]
    figures = dict(zip(("crash", "crash_ours", "last", "last_ours"), (*crashes, *shares), strict=True))
    try:
        frames = np.array([audio.info(utterance.path).num_frames for utterance in context.utterances])
        hit = int((frames == num_samples).sum())
        parts.append(
            f"Of {len(frames):,} training files {hit} are exactly so long: an epoch would "
            f"{'end there' if hit else 'pass'}."
        )
        figures["files"] = hit
    except Skip as skip:
        parts.append(f"Files of that length: skipped, {skip}.")
    return Measured(" ".join(parts), figures)


def crops_joined(context: Context) -> Measured:
    """Hazard 12: two local crops concatenated, one STFT over both, the frames halved again."""
    features = LogMel(_PUBLISHED)
    first_BS, second_BS = context.speech(32, _LOCAL_S, views=2)
    joined_BFT = features.log_mel(torch.cat([first_BS, second_BS], dim=1))
    first_BFT, second_BFT = features.log_mel(first_BS), features.log_mel(second_BS)
    hop, half = features.hop_samples, features.window_samples // 2
    border = first_BS.shape[1]
    mixed = [frame for frame in range(joined_BFT.shape[2]) if abs(frame * hop - border) < half]
    before = [frame for frame in mixed if frame * hop <= border]
    after = [frame for frame in mixed if frame * hop >= border]
    differences = torch.cat(
        [
            (joined_BFT[..., before] - first_BFT[..., before]).abs(),
            (joined_BFT[..., after] - second_BFT[..., [frame - border // hop for frame in after]]).abs(),
        ],
        dim=-1,
    )
    elsewhere = float((joined_BFT[..., : mixed[0]] - first_BFT[..., : mixed[0]]).abs().max())
    spread = float(first_BFT.std(-1).mean())
    pairs = 384 * 2
    figures = {
        "mixed": len(mixed),
        "difference": float(differences.mean()),
        "elsewhere": elsewhere,
        "spread": spread,
    }
    return Measured(
        f"Published features: **{len(mixed)}** of {joined_BFT.shape[2]} frames of a pair see both crops, "
        f"{len(mixed) * pairs:,} in a batch of 384 with 4 views ({len(mixed) / joined_BFT.shape[2]:.1%}). "
        f"There log-mel is off by **{figures['difference']:.2f}** on average, "
        f"{figures['difference'] / spread:.1f} standard deviations of a band; elsewhere by {elsewhere:.0g}.",
        figures,
    )


def erasing_before_log(context: Context) -> Measured:
    """Hazard 13: mel power set to 0 before log(· + 1e-6)."""
    crops_BS = context.speech(64, _LOCAL_S)[0]
    parts: list[str] = []
    figures: dict[str, float] = {}
    for name, scale in (("±32768", 32768.0), ("±1", 1.0)):
        clean_BFT = LogMel(_PUBLISHED).log_mel(crops_BS * scale)
        erased_BFT = clean_BFT.clone()
        frames = slice(60, 69)  # as many as published: at most 9 frames
        erased_BFT[..., frames] = np.log(1e-6)
        mean_BF1, std_BF1 = clean_BFT.mean(-1, keepdim=True), clean_BFT.std(-1, keepdim=True)
        outlier = float(((np.log(1e-6) - mean_BF1) / std_BF1).mean())
        wider = float((erased_BFT.std(-1, keepdim=True) / std_BF1).mean())
        untouched = [frame for frame in range(clean_BFT.shape[2]) if not 60 <= frame < 69]
        features = LogMel(_PUBLISHED)
        moved = features.normalise(erased_BFT) - features.normalise(clean_BFT)
        shift = float(moved[..., untouched].abs().mean())
        parts.append(
            f"{name}: they lie **{-outlier:.1f}** standard deviations below their band's mean, make that "
            f"deviation **{wider:.2f}×** as large and move the frames beside them by {shift:.2f}."
        )
        figures |= {f"outlier_{scale:g}": outlier, f"wider_{scale:g}": wider, f"shift_{scale:g}": shift}
    return Measured(
        f"9 frames of a 2 s crop erased before the log, then instance normalisation. {' '.join(parts)} Set "
        "to 0 after the normalisation they would move nothing.",
        figures,
    )


def two_scales(context: Context) -> Measured:
    """Hazard 14: ±32768 in training, ±1 at extraction, with the same floor inside the log."""
    network, which = _network(context)
    crops_BS = context.speech(50, 3.0)[0]
    encoder = network.teacher.eval().encoder

    @torch.no_grad()
    def embed(wave_BS: Tensor) -> Tensor:
        return normalize(encoder(network.features(wave_BS)), dim=1)

    loud_BD = embed(crops_BS)
    parts: list[str] = []
    figures: dict[str, float] = {}
    for gain_db in (0, -20, -40, -60):
        soft_BS = crops_BS * 10 ** (gain_db / 20)
        here_BD = embed(soft_BS)
        scales = float((here_BD * embed(soft_BS * 32768)).sum(1).mean())
        level = float((here_BD * loud_BD).sum(1).mean())
        parts.append(f"{gain_db} dB **{scales:.3f}** ({level:.3f})")
        figures |= {f"scales_{gain_db}": scales, f"level_{gain_db}": level}
    return Measured(
        f"Cosine of the embeddings of a crop in both scales, 50 utterances, {which} mini net, by gain: "
        f"{', '.join(parts)}. In brackets: to 0 dB in the scale ±1. Loud speech does not care; in soft "
        "speech the floor is heard in one scale and not in the other.",
        figures,
    )


def whole_files(_context: Context) -> Measured:
    """Hazard 17: a whole file read for every crop."""
    duration_s, start_s = 600, 300.0
    parts: list[str] = []
    figures: dict[str, float] = {}
    rng = np.random.default_rng(0)
    # noise under a slow envelope: flac has something to do
    wave = rng.standard_normal(duration_s * RATE_HZ) * (
        0.05 + 0.04 * np.sin(np.arange(duration_s * RATE_HZ) / 4e3)
    )
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac"):
            path = Path(folder) / f"long.{suffix}"
            soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
            timing = in_turn(
                partial(audio.read, path, start_s=start_s, duration_s=_LOCAL_S),
                partial(_read_and_slice, path, start_s),
                rounds=3,
            )
            parts.append(
                f"{suffix} {timing.ours_s * 1e3:.1f} ms by range, {timing.theirs_s * 1e3:.0f} ms whole "
                f"(**{timing.ratio:.0f}×**)"
            )
            figures[f"ratio_{suffix}"] = timing.ratio
        ranges_s, memory_s = _through_the_dataset(Path(folder) / "long.wav")
        figures |= {"ranges_s": ranges_s, "memory_s": memory_s}
    return Measured(
        f"2 s of a 10 min file (0.064 of 19.2 MB): {', '.join(parts)}. Five crops of the wav in the "
        f"training data set: {ranges_s * 1e3:.1f} ms by range, {memory_s * 1e3:.1f} ms from memory.",
        figures,
    )


def _read_and_slice(path: Path, start_s: float) -> np.ndarray:
    start = round(start_s * RATE_HZ)
    return audio.read(path)[start : start + round(_LOCAL_S * RATE_HZ)]


def _through_the_dataset(path: Path) -> tuple[float, float]:
    """Seconds of an item that is read by range, and of one from memory; medians, without augmentation."""
    plain = AugmentationConfig(
        noise_probability=0.0, babble_probability=0.0, room_probability=0.0, tilt_probability=0.0
    )

    def dataset(cache_mb: int) -> CropDataset:
        crops = CropConfig(global_s=_GLOBAL_S, local_s=_LOCAL_S)
        return CropDataset([Utterance("long", path)], crops, Augmenter(plain), seed=0, cache_mb=cache_mb)

    filled, empty = dataset(64), dataset(0)
    timing = in_turn(lambda: filled[(0, 0)], lambda: empty[(0, 0)], rounds=3)
    return timing.theirs_s, timing.ours_s


def one_at_a_time(context: Context) -> Measured:
    """Hazard 18: extraction one utterance at a time."""
    network, _ = _network(context)
    run = RunConfig() if context.exp is None else context.run.config
    embedder = Embedder(ModelFolder(network.teacher.eval().encoder, run.encoder, run.features))
    rng = np.random.default_rng(0)
    waves_BS = rng.standard_normal((32, 3 * RATE_HZ)).astype(np.float32) * 0.05

    def single() -> list[np.ndarray]:
        return [embedder.embed(wave_S, RATE_HZ) for wave_S in waves_BS]

    @torch.inference_mode()
    def batched() -> Tensor:
        rows_BD: Tensor = network.teacher.encoder(network.features(torch.from_numpy(waves_BS)))
        return rows_BD

    same = float(np.abs(np.stack(single()) - batched().numpy()).max())
    timing = in_turn(batched, single, rounds=3)
    return Measured(
        f"32 utterances of 3 s, mini net, one thread: one at a time takes {timing} the time of one batch "
        f"(embeddings differ by {same:.0e}). GPUs are not measured.",
        {"ratio": timing.ratio, "difference": same},
    )
