"""Applies the augmentation of a batch on the training device, where it takes a few launches.

The loader draws as ever (`sdpn.augmentation.augment.Augmenter.draw`), from the same generators; rooms, noises
and numbers travel with the clean crops and are applied there. The result is that of
`sdpn.augmentation.augment.Augmenter.apply` up to rounding, so that the distribution is the same by
construction, and a run resumes as exactly. Codecs, which are programs of the CPU, cannot be applied here.

Nothing is read from the device: which crops have a room, a noise, or a band limit is known to the host.

Shapes: N crops, S samples, M crops of a group, R longest room response of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdpn.augmentation.augment import STEPS, Drawn
from sdpn.augmentation.bands import BANDS, EDGE, Band, BandName, band_size
from sdpn.augmentation.equaliser import FILTER_GUARD, POINTS_HZ, flat_tilt
from sdpn.augmentation.rooms import LONGEST_ROOM
from sdpn.io.audio import RATE_HZ


class Rooms(NamedTuple):
    """Crops in rooms: their rows (M,) int64, and impulse responses (M, R), padded with zeros."""

    rows_M: Tensor
    response_MR: Tensor


class Noises(NamedTuple):
    """Noises to add to different crops: rows (M,) int64, samples (M, S) and SNR (M,) in dB."""

    rows_M: Tensor
    noise_MS: Tensor
    snr_db_M: Tensor


class Effects(NamedTuple):
    """The augmentation drawn for N crops, as tensors.

    Attributes:
        rooms: crops in rooms; None for none.
        tilted_M: rows of crops without a room that have an equaliser; None for none.
        tilt_db_NP: gains of the equaliser at its points; 0 without one.
        noises: in the order in which they are added; a crop occurs at most once in each.
        bands: rows (M,) by name of the band limit.
        clip_share_N: limit of clipping as a share of the peak; infinite without.
        gain_N: factor, applied last.
        rounded_M: rows that are rounded to 16 bits; None for none.
    """

    rooms: Rooms | None
    tilted_M: Tensor | None
    tilt_db_NP: Tensor
    noises: tuple[Noises, ...]
    bands: dict[BandName, Tensor]
    clip_share_N: Tensor
    gain_N: Tensor
    rounded_M: Tensor | None

    def to(self, device: torch.device) -> Effects:
        """Move to a device."""
        moved = _moved(self, device)
        assert isinstance(moved, Effects)
        return moved


def as_tensors(drawn: Sequence[Drawn]) -> Effects:
    """The augmentation of N crops as tensors.

    Args:
        drawn: for each crop, without codecs.
    """
    if any(effects.coding is not None for effects in drawn):
        raise ValueError("codecs cannot be applied on the device")
    in_rooms = [row for row, effects in enumerate(drawn) if effects.room is not None]
    tilted = [row for row, one in enumerate(drawn) if one.room is None and one.tilt_db is not None]
    rounded = [row for row, effects in enumerate(drawn) if effects.rounded]
    layers = max((len(effects.additive_noises) for effects in drawn), default=0)
    flat = flat_tilt()
    return Effects(
        _rooms(in_rooms, drawn) if in_rooms else None,
        torch.tensor(tilted) if tilted else None,
        _floats([flat if one.tilt_db is None else one.tilt_db for one in drawn]),
        tuple(_noises(layer, drawn) for layer in range(layers)),
        {
            name: torch.tensor(rows)
            for name in BANDS
            if (rows := [row for row, effects in enumerate(drawn) if effects.band == name])
        },
        _floats([np.inf if one.clip_share is None else one.clip_share for one in drawn]),
        _floats([10 ** (effects.gain_db / 20) for effects in drawn]),
        torch.tensor(rounded) if rounded else None,
    )


@torch.no_grad()
def apply_effects(clean_NS: Tensor, effects: Effects) -> Tensor:
    """Augment crops (N, S) float32 as `sdpn.augmentation.augment.Augmenter.apply` does, on their device."""
    wave_NS = clean_NS.clone()
    if effects.rooms is not None:
        _filter(wave_NS, effects.rooms.rows_M, effects.tilt_db_NP, LONGEST_ROOM, effects.rooms.response_MR)
    if effects.tilted_M is not None:
        _filter(wave_NS, effects.tilted_M, effects.tilt_db_NP, FILTER_GUARD)
    for rows_M, noise_MS, snr_db_M in effects.noises:
        speech_MS = wave_NS[rows_M]
        noise_power_M = _power(noise_MS)
        ratio_M = _power(speech_MS) / noise_power_M.clamp(min=1e-10) * 10 ** (-snr_db_M / 10)
        ratio_M = torch.where(noise_power_M >= 1e-10, ratio_M, 0.0)
        wave_NS[rows_M] = speech_MS + noise_MS * ratio_M.sqrt()[:, None]
    for name, rows_M in effects.bands.items():
        wave_NS[rows_M] = _limit_band(wave_NS[rows_M], BANDS[name])
    peak_N1 = wave_NS.abs().amax(dim=1, keepdim=True)
    share_N1 = effects.clip_share_N[:, None]
    limit_N1 = torch.where(torch.isinf(share_N1), torch.inf, peak_N1 * share_N1)
    wave_NS = torch.minimum(torch.maximum(wave_NS, -limit_N1), limit_N1)
    wave_NS = (wave_NS * effects.gain_N[:, None]).clamp(-1.0, 1.0)
    if effects.rounded_M is not None:
        wave_NS[effects.rounded_M] = (wave_NS[effects.rounded_M] * float(STEPS)).round() / float(STEPS)
    return wave_NS


def _filter(
    wave_NS: Tensor, rows_M: Tensor, tilt_db_NP: Tensor, tail: int, response_MR: Tensor | None = None
) -> None:
    """Convolve some crops with their rooms and equalisers in place, keeping length and power."""
    from scipy.fft import next_fast_len

    num_samples = wave_NS.shape[1]
    size = next_fast_len(num_samples + tail, real=True)
    clean_MS = wave_NS[rows_M]
    spectrum_MF = torch.fft.rfft(clean_MS, size)
    if response_MR is not None:
        spectrum_MF = spectrum_MF * torch.fft.rfft(response_MR, size)
    log_gain_MP = tilt_db_NP[rows_M] * (np.log(10) / 20)
    spectrum_MF = spectrum_MF * (log_gain_MP @ _tilt_basis(spectrum_MF.shape[1], wave_NS.device)).exp()
    filtered_MS = torch.fft.irfft(spectrum_MF, size)[:, :num_samples]
    level_M = (_power(clean_MS) / _power(filtered_MS).clamp(min=1e-12)).sqrt()
    wave_NS[rows_M] = filtered_MS * level_M[:, None]


def _limit_band(wave_MS: Tensor, band: Band) -> Tensor:
    """As `sdpn.augmentation.bands.limit_band`."""
    num_samples = wave_MS.shape[1]
    size = band_size(num_samples)
    spectrum_MF = torch.fft.rfft(wave_MS, size) * _band_gain(band, size, wave_MS.device)
    if band.companded:  # at half the rate
        half_MS = torch.fft.irfft(spectrum_MF[:, : size // 4 + 1], size // 2) * 0.5
        sent_MF = torch.zeros_like(spectrum_MF)
        sent_MF[:, : size // 4] = torch.fft.rfft(_compand(half_MS))[:, : size // 4]
        spectrum_MF = 2 * sent_MF
    return torch.fft.irfft(spectrum_MF, size)[:, :num_samples]


def _compand(wave_MS: Tensor) -> Tensor:
    """Round to 8 bits on the µ-law scale (G.711), and back."""
    scale = float(np.log1p(255.0))
    code_MS = (torch.log1p(255 * wave_MS.abs().clamp(max=1.0)) * (127 / scale)).round()
    return torch.copysign(torch.expm1(code_MS * (scale / 127)) / 255, wave_MS)


def _tilt_basis(num_bins: int, device: torch.device) -> Tensor:
    """Linear interpolation from the points of the equaliser to bins, (7, num_bins); nothing is copied."""
    frequency_hz = _frequencies(num_bins, device)
    points_hz = POINTS_HZ.tolist()
    rows = []
    for place, point_hz in enumerate(points_hz):
        row = torch.ones_like(frequency_hz)
        if place:
            row = (frequency_hz - points_hz[place - 1]) / (point_hz - points_hz[place - 1])
        if place < len(points_hz) - 1:
            row = torch.minimum(
                row, (points_hz[place + 1] - frequency_hz) / (points_hz[place + 1] - point_hz)
            )
        rows.append(row.clamp(0.0, 1.0))
    return torch.stack(rows)


def _band_gain(band: Band, size: int, device: torch.device) -> Tensor:
    """As the gain of `sdpn.augmentation.bands.limit_band`."""
    frequency_hz = _frequencies(size // 2 + 1, device)
    low, high = (
        ((frequency_hz / edge_hz - 1) / EDGE + 0.5).clamp(0.0, 1.0) for edge_hz in (band.low_hz, band.high_hz)
    )
    return torch.sin(np.pi / 2 * low * (1 - high)).square()


def _frequencies(num_bins: int, device: torch.device) -> Tensor:
    return torch.linspace(0.0, RATE_HZ / 2, num_bins, device=device)


def _power(wave_MS: Tensor) -> Tensor:
    return wave_MS.square().mean(dim=1)


def _rooms(rows: Sequence[int], drawn: Sequence[Drawn]) -> Rooms:
    responses = [room for row in rows if (room := drawn[row].room) is not None]
    response_MR = np.zeros((len(rows), max(map(len, responses))), dtype=np.float32)
    for padded, response in zip(response_MR, responses, strict=True):
        padded[: len(response)] = response
    return Rooms(torch.tensor(rows), torch.from_numpy(response_MR))


def _noises(layer: int, drawn: Sequence[Drawn]) -> Noises:
    rows = [row for row, effects in enumerate(drawn) if len(effects.additive_noises) > layer]
    added = [drawn[row].additive_noises[layer] for row in rows]
    return Noises(
        torch.tensor(rows),
        torch.from_numpy(np.stack([noise.wave for noise in added])),
        _floats([noise.snr_db for noise in added]),
    )


def _floats(values: Sequence[float | np.ndarray]) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors of a nested structure on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = [_moved(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
