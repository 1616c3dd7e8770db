"""Numbers on axes and in tables: round ticks and short labels."""

from __future__ import annotations

import math

_TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 × 10ⁿ inside ``low`` to ``high``, at most ``most`` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [number * step for number in range(first, last + 1)]
    return [low]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Powers of ten inside ``low`` to ``high`` (both above 0), at most ``most`` of them."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / most))
    return [10.0**power for power in range(first, last + 1, stride)]


def time_ticks(start_s: float, end_s: float, most: int = 7) -> list[float]:
    """Round times in seconds inside ``start_s`` to ``end_s``, at most about ``most`` of them."""
    span_s = end_s - start_s
    step_s = next((step for step in _TIME_STEPS_S if span_s / step <= most), 86400.0)
    return [number * step_s for number in range(math.ceil(start_s / step_s), math.floor(end_s / step_s) + 1)]


def clock(seconds: float, *, longest_s: float) -> str:
    """A time for display: ``12 s`` in a recording below two minutes, else ``3:20`` or ``1:03:20``."""
    if longest_s < 120:
        return f"{seconds:g} s"
    hours, rest = divmod(round(seconds), 3600)
    if longest_s >= 3600:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"


def tick_caption(share: float, text: str) -> str:
    """A caption as HTML at ``share`` (0 to 1) of an axis; near an end it is aligned with that end."""
    side = ' class="from"' if share < 0.04 else ' class="to"' if share > 0.96 else ""
    return f'<span{side} style="left:{100 * share:.2f}%">{text}</span>'


def spoken_duration(seconds: float) -> str:
    """A duration for display: ``42 s``, ``1 min 53 s``, ``3 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def short(value: float) -> str:
    """A number in at most four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e5:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, power = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
