"""Things that sound on contact: their appearance, from the gap and the last contact.

Each `_draw_…` gets the canvas, a generator for the look, the column's centre `x`, the `floor` (y of the
ground under the thing), the gap float[T] in pixels (0: touching), and what a contact leaves behind:
`flash` float[T], 1 in the frame of the contact and gone after two more, and `ringing` float[T], a
decaying vibration in pixels.
"""

from collections.abc import Callable

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage.canvas import Canvas, Coordinate, hsv, shade
from dualdub_jax.data_pipeline.builders.puppet_stage.motion import Contact, since_contact

_STEEL = (0.62, 0.65, 0.70)


def draw_thing(
    canvas: Canvas,
    rng: np.random.Generator,
    kind: str,
    x: float,
    floor: float,
    gap: np.ndarray,
    contacts: list[Contact],
) -> None:
    """Draws the impact thing `kind` (a key of `sounds.IMPACTS`), about 20 pixels wide."""
    age, speed = since_contact(contacts, canvas.num_frames)
    flash = np.clip(1 - age / 2.5, 0, 1) * (0.5 + 0.5 * speed) * (speed > 0)
    ringing = speed * np.exp(-age / 5) * np.cos(2.4 * age)
    _DRAW[kind](canvas, rng, x, floor, gap, flash, ringing)


def _draw_ball(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    floor: float,
    gap: np.ndarray,
    flash: np.ndarray,
    ringing: np.ndarray,
) -> None:
    colour, r = hsv(rng.random(), rng.uniform(0.7, 1.0), rng.uniform(0.75, 1.0)), rng.uniform(4.2, 5.2)
    squash = 0.28 * np.clip(1 - gap / 1.5, 0, 1) * (flash > 0.3)
    y = floor - gap - r * (1 - squash)
    canvas.ellipse(
        x, floor + 0.5, r * (1.1 - 0.02 * gap), 1.3, (0.0, 0.0, 0.0), np.clip(0.5 - 0.015 * gap, 0, 1)
    )
    canvas.ellipse(x, y, r * (1 + squash), r * (1 - squash), shade(colour, 0.55))
    canvas.ellipse(x, y, r * (1 + squash) - 0.8, r * (1 - squash) - 0.8, colour)
    canvas.rectangle(x, y, r * (1 + squash) - 1.0, 0.7, shade(colour, 1.75))
    canvas.ellipse(x - 0.35 * r, y - 0.4 * r, 0.22 * r, 0.2 * r, (1.0, 1.0, 1.0), 0.9)
    _draw_dashes(canvas, x, floor - 0.5, flash, (1.0, 1.0, 1.0), ((-9, -1), (9, -1), (-8, -4), (8, -4)))


def _draw_drum(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    floor: float,
    gap: np.ndarray,
    flash: np.ndarray,
    ringing: np.ndarray,
) -> None:
    colour, side = hsv(rng.random(), 0.85, rng.uniform(0.55, 0.85)), rng.choice([-1.0, 1.0])
    top = floor - 10.0
    canvas.ellipse(x, floor - 1, 8.5, 2.4, shade(colour, 0.6))
    canvas.rectangle(x, floor - 5.5, 8.5, 4.5, colour)
    for i in range(-2, 3):
        canvas.line(x + 4 * i - 2, top + 1, x + 4 * i, floor - 1, 0.8, (1.0, 0.92, 0.7), 0.8)
    canvas.ellipse(x, top, 8.9, 2.9, shade(colour, 0.55))
    canvas.ellipse(x, top + 0.5 * ringing, 7.9, 2.1, (0.98, 0.95, 0.86))
    canvas.ellipse(x - side, top, 3.5, 1.0, (1.0, 0.75, 0.3), flash)
    tip_y = top - 1.2 - gap
    hand_x, hand_y = x + side * 10.0, top - 7.0 - 0.45 * gap
    canvas.line(hand_x, hand_y, x - side, tip_y, 1.7, (0.55, 0.33, 0.14))
    canvas.ellipse(x - side, tip_y, 1.7, 1.5, (0.95, 0.85, 0.65))
    canvas.ellipse(hand_x, hand_y, 2.0, 2.0, (0.95, 0.75, 0.6))
    _draw_dashes(canvas, x - side, top - 1, flash, (1.0, 0.95, 0.6), ((-6, -4), (6, -4)))


def _draw_bell(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    floor: float,
    gap: np.ndarray,
    flash: np.ndarray,
    ringing: np.ndarray,
) -> None:
    side = rng.choice([-1.0, 1.0])
    gold = hsv(rng.uniform(0.11, 0.15), rng.uniform(0.65, 0.9), rng.uniform(0.85, 1.0))
    wood = (0.42, 0.26, 0.14)
    top = floor - 25.0
    post_x = x + side * 8.5
    canvas.rectangle(post_x, (top + floor) / 2, 1.2, (floor - top) / 2, wood)
    canvas.rectangle(x + side * 1.5, top, 8.0, 1.1, wood)
    # The striker is fixed to the post; the bell hangs from the beam and swings away from it.
    striker_x, reach_y = x + side * 5.2, floor - 10.5
    canvas.line(striker_x, reach_y, post_x, reach_y, 1.4, (0.5, 0.5, 0.55))
    canvas.ellipse(striker_x, reach_y, 1.7, 1.7, (0.85, 0.85, 0.9))
    away = -side * (gap - 0.6 * ringing * (gap < 2))
    angle = away / 15.0
    hang_x = x - side * 2.2
    mid_x, mid_y = hang_x + 8.5 * np.sin(angle), top + 1 + 8.5 * np.cos(angle)
    rim_x, rim_y = hang_x + 14.5 * np.sin(angle), top + 1 + 14.5 * np.cos(angle)
    canvas.line(hang_x, top, mid_x, mid_y, 1.2, (0.3, 0.2, 0.1))
    canvas.ellipse(mid_x, mid_y, 3.7, 5.2, gold, angle=-angle)
    canvas.ellipse((mid_x + rim_x) / 2, (mid_y + rim_y) / 2, 4.4, 3.6, gold, angle=-angle)
    canvas.ellipse(rim_x, rim_y, 5.7, 1.5, shade(gold, 0.7), angle=-angle)
    canvas.ellipse(mid_x - 1.2, mid_y, 0.9, 3.2, shade(gold, 1.7), angle=-angle)
    _draw_dashes(
        canvas,
        striker_x - side,
        reach_y,
        flash,
        (1.0, 1.0, 0.8),
        ((side * 1, -6), (side * 5, -5), (side * 1, 6)),
    )


def _draw_anvil(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    floor: float,
    gap: np.ndarray,
    flash: np.ndarray,
    ringing: np.ndarray,
) -> None:
    side = rng.choice([-1.0, 1.0])
    dark = hsv(rng.uniform(0.55, 0.7), 0.25, rng.uniform(0.2, 0.34))
    top = floor - 10.5
    canvas.rectangle(x, floor - 1.3, 6.5, 1.6, dark)
    canvas.rectangle(x, floor - 4.5, 3.0, 3.0, shade(dark, 0.8))
    canvas.rectangle(x, top + 2.2, 7.5, 2.3, dark)
    canvas.ellipse(x - side * 8.5, top + 1.6, 3.6, 1.5, dark)
    canvas.rectangle(x, top + 0.4, 7.5, 0.5, shade(dark, 1.5))
    # The hammer turns around the hand, its head level on the anvil at the contact.
    angle = side * gap / 13.0
    hand_x, hand_y = x + side * 12.0, top - 2.5
    head_x = hand_x - side * 12.0 * np.cos(angle)
    head_y = hand_y - side * 12.0 * np.sin(angle)
    canvas.line(hand_x, hand_y, head_x, head_y, 1.8, (0.62, 0.38, 0.18))
    canvas.rectangle(head_x, head_y, 2.2, 3.0, shade(_STEEL, 0.55), angle=angle)
    canvas.rectangle(head_x, head_y, 1.5, 2.4, _STEEL, angle=angle)
    canvas.ellipse(hand_x, hand_y, 2.1, 2.1, (0.85, 0.62, 0.48))
    _draw_dashes(
        canvas,
        x,
        top - 0.5,
        flash,
        (1.0, 0.8, 0.1),
        ((-8, -5), (-5, -8), (5, -8), (8, -5), (-9, -1), (9, -1)),
    )


def _draw_knock(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    floor: float,
    gap: np.ndarray,
    flash: np.ndarray,
    ringing: np.ndarray,
) -> None:
    side = rng.choice([-1.0, 1.0])
    wood = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.75))
    sleeve = hsv(rng.random(), 0.7, 0.6)
    door_x, middle = x - side * 6.0, floor - 12.0
    lean = -side * 0.5 * np.abs(ringing)
    canvas.rectangle(door_x + lean, middle, 4.3, 12.5, shade(wood, 0.5))
    canvas.rectangle(door_x + lean, middle, 3.4, 11.6, wood)
    for level in (-7.5, -2.5, 2.5, 7.5):
        canvas.rectangle(door_x + lean, middle + level, 3.4, 0.45, shade(wood, 0.7))
    surface = door_x + side * 4.3
    fist_x, fist_y = surface + side * (2.6 + gap), middle - 1.0
    canvas.line(fist_x + side * 1.5, fist_y + 0.8, fist_x + side * 9.0, fist_y + 5.5, 3.6, sleeve)
    canvas.ellipse(fist_x, fist_y, 3.1, 3.3, (0.45, 0.27, 0.2))
    canvas.ellipse(fist_x, fist_y, 2.4, 2.6, (0.97, 0.76, 0.62))
    _draw_dashes(
        canvas, surface, fist_y, flash, (1.0, 1.0, 1.0), ((side * 3, -7), (-side * 2, -7), (side * 3, 7))
    )


def _draw_glasses(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    floor: float,
    gap: np.ndarray,
    flash: np.ndarray,
    ringing: np.ndarray,
) -> None:
    drink = hsv(rng.choice([0.0, 0.09, 0.14, 0.93]), 0.85, rng.uniform(0.7, 0.95))
    rim, glass = floor - 21.0, (0.86, 0.94, 1.0)
    for side in (-1.0, 1.0):
        centre: Coordinate = x + side * (4.2 + 0.5 * gap + 0.4 * np.abs(ringing) * (gap < 2))
        canvas.rectangle(centre, rim + 13.0, 0.8, 3.6, glass, 0.95)
        canvas.rectangle(centre, rim + 16.6, 3.2, 0.8, glass, 0.95)
        corners = [
            (centre - 4.2, rim),
            (centre + 4.2, rim),
            (centre + 2.2, rim + 10),
            (centre - 2.2, rim + 10),
        ]
        canvas.polygon(corners, glass, 0.75)
        corners = [
            (centre - 3.3, rim + 3.5),
            (centre + 3.3, rim + 3.5),
            (centre + 1.7, rim + 9.3),
            (centre - 1.7, rim + 9.3),
        ]
        canvas.polygon(corners, drink)
    _draw_dashes(canvas, x, rim + 0.5, flash, (1.0, 1.0, 0.85), ((0, -7), (-5, -6), (5, -6)))
    canvas.ellipse(x, rim + 0.5, 2.0, 2.0, (1.0, 1.0, 0.9), flash)


def _draw_dashes(
    canvas: Canvas,
    x: Coordinate,
    y: Coordinate,
    flash: np.ndarray,
    colour: tuple[float, float, float],
    ends: tuple[tuple[float, float], ...],
) -> None:
    """Short strokes flying out from a contact, as comics draw a sound."""
    out = 1.15 - 0.3 * flash
    for end_x, end_y in ends:
        canvas.line(
            x + 0.6 * end_x * out, y + 0.6 * end_y * out, x + end_x * out, y + end_y * out, 1.1, colour, flash
        )


_DRAW: dict[str, Callable[..., None]] = {
    "ball": _draw_ball,
    "drum": _draw_drum,
    "bell": _draw_bell,
    "anvil": _draw_anvil,
    "knock": _draw_knock,
    "glasses": _draw_glasses,
}
