"""Inline SVG charts: value and interval between floor and ceiling, and paired differences."""

import html
import math
from collections.abc import Sequence

_WIDTH, _HEIGHT, _MIDDLE = 220, 24, 12
_LEFT, _RIGHT = 30.0, 190.0  # x of floor and ceiling


def place_on_scale(
    values: Sequence[float | None],
    *,
    floor: float | None,
    ceiling: float | None,
    better: str,
) -> list[float | None]:
    """Maps values to an axis on which right is better.

    Args:
        values: None and infinities are mapped to None.
        floor: value of shuffled pairs.
        ceiling: value of true audio.
        better: "higher", "lower" or "neither".

    Returns:
        0 at the floor and 1 at the ceiling. If these do not span a scale (one is unknown, they are equal, or
        the floor is better), 0 and 1 are the extremes of all finite values; with "neither" the axis ascends.
    """
    sign = -1.0 if better == "lower" else 1.0
    known = [sign * v for v in (*values, floor, ceiling) if v is not None and math.isfinite(v)]
    if not known:
        return [None] * len(values)
    start, end = min(known), max(known)
    if floor is not None and ceiling is not None and better != "neither" and sign * (ceiling - floor) > 0:
        start, end = sign * floor, sign * ceiling
    span = end - start
    if not math.isfinite(span) or span <= 0:
        return [0.5 if v is not None and math.isfinite(v) else None for v in values]
    return [(sign * v - start) / span if v is not None and math.isfinite(v) else None for v in values]


def interval_chart(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    floor: float | None,
    ceiling: float | None,
    codec_ceiling: float | None,
    better: str,
    label: str,
) -> str:
    """Renders a figure as inline SVG; colours are defined by the page's style sheet.

    Args:
        value: the point estimate; None: landmarks only.
        low: lower bound of its interval.
        high: upper bound of its interval.
        floor: left landmark.
        ceiling: right landmark.
        codec_ceiling: landmark of true audio through the codec.
        better: "higher", "lower" or "neither".
        label: text alternative and tooltip.
    """
    points = place_on_scale(
        [value, low, high, floor, ceiling, codec_ceiling], floor=floor, ceiling=ceiling, better=better
    )
    x_value, x_low, x_high, x_floor, x_ceiling, x_codec = (_x(p) for p in points)
    landmarks = []
    if x_floor is not None:
        landmarks.append(f'<path class="floor" d="M{x_floor:.1f} {_MIDDLE - 7}v14"/>')
    if x_ceiling is not None:
        landmarks.append(f'<path class="ceiling" d="M{x_ceiling:.1f} {_MIDDLE - 7}v14"/>')
    if x_codec is not None:
        landmarks.append(f'<path class="codec" d="M{x_codec:.1f} {_MIDDLE - 5}l5 5-5 5-5-5z"/>')
    return _svg("".join(landmarks), x_value, x_low, x_high, label)


def difference_chart(
    value: float | None, low: float | None, high: float | None, better: str, label: str
) -> str:
    """Renders a paired difference around zero as inline SVG; right is better.

    Args:
        value: ours minus other.
        low: lower bound of its interval.
        high: upper bound of its interval.
        better: "higher", "lower" or "neither".
        label: text alternative and tooltip.
    """
    known = [abs(v) for v in (value, low, high) if v is not None and math.isfinite(v)]
    reach = max(known, default=0.0) or 1.0
    points = place_on_scale([value, low, high], floor=-reach, ceiling=reach, better="higher")
    if better == "lower":
        points = [None if p is None else 1.0 - p for p in points]
    zero = f'<path class="zero" d="M{_x(0.5):.1f} {_MIDDLE - 9}v18"/>'
    return _svg(zero, *(_x(p) for p in points), label)


def _svg(landmarks: str, value: float | None, low: float | None, high: float | None, label: str) -> str:
    parts = [f'<path class="axis" d="M4 {_MIDDLE}H{_WIDTH - 4}"/>', landmarks]
    if low is not None and high is not None:
        left, right = sorted((low, high))
        parts.append(f'<path class="whisker" d="M{left:.1f} {_MIDDLE - 5}v10m0-5H{right:.1f}m0-5v10"/>')
    if value is not None:
        parts.append(f'<circle class="value" cx="{value:.1f}" cy="{_MIDDLE}" r="4.5"/>')
    label = html.escape(label)
    return (
        f'<svg class="interval" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )


def _x(place: float | None) -> float | None:
    """x of a point on the axis, clipped to the chart."""
    return None if place is None else min(_WIDTH - 5.0, max(5.0, _LEFT + (_RIGHT - _LEFT) * place))
