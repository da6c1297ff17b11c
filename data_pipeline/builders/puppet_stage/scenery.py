"""The places, the weather, the wheel, and the things that move without a sound."""

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage.canvas import Canvas, hsv, shade
from dualdub_jax.data_pipeline.builders.puppet_stage.motion import wander

_MARGIN = 4  # pixels around the backdrop, for the camera to move in


def backdrop(
    rng: np.random.Generator,
    place: str,
    size: int,
    horizon: float,
    camera_x: np.ndarray,
    camera_y: np.ndarray,
) -> np.ndarray:
    """Paints a place once and films it with a moving camera.

    Args:
        rng: the clip's generator.
        place: a key of `sounds.PLACES`.
        size: height and width of a frame, pixels.
        horizon: y where the ground begins, pixels.
        camera_x: float[T], offsets of the camera within 3 pixels.
        camera_y: the same.

    Returns:
        float32[T, size, size, 3].
    """
    full = size + 2 * _MARGIN
    still = Canvas(
        np.zeros((1, full, full, 3), np.float32), np.full(1, float(_MARGIN)), np.full(1, float(_MARGIN))
    )
    _PLACES[place](still, rng, float(size), horizon)
    image = still.pixels[0]
    # Bilinear: four whole-pixel windows of the image, weighted by the fraction.
    x, y = _MARGIN - camera_x, _MARGIN - camera_y
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - column).astype(np.float32), (y - row).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))  # [.., .., 3, s, s]
    film = sum(
        windows[row + i, column + j] * (wx * wy)[:, None, None, None]
        for i, wy in ((0, 1 - fy), (1, fy))
        for j, wx in ((0, 1 - fx), (1, fx))
    )
    return np.ascontiguousarray(np.moveaxis(film, 1, -1), dtype=np.float32)


def _sky(canvas: Canvas, size: float, horizon: float, top: tuple, bottom: tuple, ground: tuple) -> None:
    bands = 12
    for i in range(bands):
        mix = i / (bands - 1)
        colour = tuple(a * (1 - mix) + b * mix for a, b in zip(top, bottom, strict=True))
        start = -_MARGIN + (horizon + _MARGIN) * i / bands
        canvas.rectangle(size / 2, (start + horizon) / 2, size, (horizon - start) / 2 + 0.5, colour)
    canvas.rectangle(size / 2, (horizon + size) / 2 + _MARGIN, size, (size - horizon) / 2 + _MARGIN, ground)
    canvas.rectangle(size / 2, size, size, (size - horizon) / 3, shade(ground, 0.88))


def _kitchen(canvas: Canvas, rng: np.random.Generator, size: float, horizon: float) -> None:
    wall = hsv(rng.uniform(0.08, 0.16), rng.uniform(0.15, 0.35), rng.uniform(0.8, 0.95))
    _sky(canvas, size, horizon, wall, wall, hsv(rng.uniform(0.04, 0.09), 0.45, 0.55))
    for x in range(0, 72, 8):
        canvas.rectangle(x, (horizon + size) / 2 + 2, 0.4, (size - horizon) / 2 + 2, (0.35, 0.22, 0.14), 0.6)
    x = rng.uniform(12, 52)
    canvas.rectangle(x, 14, 9.5, 8.5, (0.95, 0.95, 0.92))
    canvas.rectangle(x, 14, 8, 7, (0.6, 0.82, 0.97))
    canvas.rectangle(x, 14, 0.6, 7, (0.95, 0.95, 0.92))
    canvas.rectangle(x, 14, 8, 0.6, (0.95, 0.95, 0.92))
    fridge = 6.0 if x > 32 else 58.0
    canvas.rectangle(fridge, horizon - 15, 8, 16, (0.72, 0.76, 0.8))
    canvas.rectangle(fridge, horizon - 15, 7.2, 15.2, (0.93, 0.95, 0.97))
    canvas.rectangle(fridge, horizon - 20, 7.2, 0.5, (0.6, 0.64, 0.68))
    canvas.rectangle(fridge + 4.5, horizon - 14, 0.6, 3, (0.5, 0.54, 0.58))


def _forest(canvas: Canvas, rng: np.random.Generator, size: float, horizon: float) -> None:
    leaf = hsv(rng.uniform(0.27, 0.38), 0.6, rng.uniform(0.4, 0.6))
    _sky(canvas, size, horizon, (0.70, 0.86, 0.80), (0.86, 0.94, 0.80), shade(leaf, 0.75))
    for _ in range(7):
        x, height = rng.uniform(-2, size + 2), rng.uniform(18, 32)
        tone = shade(leaf, rng.uniform(0.6, 1.15))
        canvas.rectangle(x, horizon - 5, 1.2, 6, (0.36, 0.24, 0.14))
        for level in range(3):
            base, half = horizon - 5 - level * height / 4, 8.0 - 1.8 * level
            canvas.polygon([(x - half, base), (x, base - height / 2.2), (x + half, base)], tone)


def _beach(canvas: Canvas, rng: np.random.Generator, size: float, horizon: float) -> None:
    sand = hsv(rng.uniform(0.11, 0.14), rng.uniform(0.3, 0.45), rng.uniform(0.88, 0.97))
    _sky(canvas, size, horizon, (0.45, 0.75, 0.98), (0.85, 0.95, 1.0), sand)
    canvas.ellipse(rng.uniform(8, 56), rng.uniform(6, 14), 5, 5, (1.0, 0.92, 0.45))
    sea = horizon - rng.uniform(13, 17)
    canvas.rectangle(size / 2, (sea + horizon) / 2, size, (horizon - sea) / 2, (0.13, 0.5, 0.72))
    for _ in range(14):
        x, y, half = rng.uniform(0, size), rng.uniform(sea + 1.5, horizon - 1), rng.uniform(2, 5)
        canvas.line(x - half, y, x + half, y, 0.9, (0.75, 0.92, 0.98), 0.8)
    canvas.rectangle(size / 2, horizon, size, 0.8, (0.95, 0.98, 1.0))


def _street(canvas: Canvas, rng: np.random.Generator, size: float, horizon: float) -> None:
    _sky(canvas, size, horizon, (0.62, 0.68, 0.78), (0.82, 0.82, 0.84), (0.36, 0.36, 0.39))
    x = rng.uniform(-8, 0)
    while x < size + 4:
        half, height = rng.uniform(6, 10), rng.uniform(22, 40)
        wall = hsv(rng.choice([0.02, 0.06, 0.1, 0.58]), rng.uniform(0.2, 0.5), rng.uniform(0.45, 0.75))
        canvas.rectangle(x + half, horizon - height / 2, half, height / 2, wall)
        for row in np.arange(horizon - height + 4, horizon - 5, 7):
            for column in np.arange(x + 3.5, x + 2 * half - 2, 5):
                lit = (1.0, 0.92, 0.6) if rng.random() < 0.4 else (0.25, 0.3, 0.38)
                canvas.rectangle(column, row, 1.3, 1.8, lit)
        x += 2 * half
    for x in range(-4, 76, 14):
        canvas.rectangle(x, horizon + 7, 4, 0.7, (0.95, 0.93, 0.8))


def _meadow(canvas: Canvas, rng: np.random.Generator, size: float, horizon: float) -> None:
    grass = hsv(rng.uniform(0.3, 0.42), 0.55, rng.uniform(0.24, 0.34))
    _sky(canvas, size, horizon, (0.04, 0.05, 0.2), (0.2, 0.2, 0.45), grass)
    for _ in range(30):
        canvas.ellipse(rng.uniform(0, size), rng.uniform(0, horizon - 12), 0.5, 0.5, (1.0, 1.0, 0.9), 0.9)
    x = rng.uniform(8, 56)
    canvas.ellipse(x, 10, 5.5, 5.5, (0.97, 0.96, 0.82))
    canvas.ellipse(x + 2.4, 9, 4.6, 4.6, (0.08, 0.09, 0.25))
    canvas.ellipse(rng.uniform(0, size), horizon + 2, 40, 9, shade(grass, 0.8))
    for x in np.arange(-2, 68, 3.0):
        tip = rng.uniform(2, 5)
        canvas.line(x, horizon + 1, x + rng.uniform(-1.5, 1.5), horizon - tip, 0.9, shade(grass, 1.2))


_PLACES = {"kitchen": _kitchen, "forest": _forest, "beach": _beach, "street": _street, "meadow": _meadow}


def draw_rain(canvas: Canvas, rng: np.random.Generator, strength: np.ndarray) -> None:
    """Streaks of rain; the share of 70 drops that fall is `strength` float[T]."""
    num_drops, length = 70, 4
    _, height, width, _ = canvas.pixels.shape
    lane, start = rng.integers(0, width, num_drops), rng.uniform(0, height, num_drops)
    speed = rng.uniform(5.5, 8.0, num_drops)
    frame, drop = np.nonzero(strength[:, None] > (np.arange(num_drops) + 0.5) / num_drops)
    y = (start[drop] + speed[drop] * frame).astype(int)[:, None] + np.arange(length)
    slant = (lane[drop][:, None] + (y % (height + length)) // 8) % width
    row = y % (height + length)
    inside = row < height
    frames = np.broadcast_to(frame[:, None], row.shape)[inside]
    target = canvas.pixels
    colour = np.array([0.80, 0.90, 1.0], np.float32)
    target[frames, row[inside], slant[inside]] = (
        0.25 * target[frames, row[inside], slant[inside]] + 0.75 * colour
    )
    # Clouds gather with the rain, so that its strength is in the light too.
    target *= 1 - 0.25 * strength.astype(np.float32)[:, None, None, None]


def draw_wheel(
    canvas: Canvas, rng: np.random.Generator, x: float, floor: float, strength: np.ndarray
) -> None:
    """A wheel on a stand; it turns by up to 1.2 turns a second, in proportion to `strength` float[T]."""
    r = rng.uniform(8.0, 9.5)
    y = floor - r - 3
    colour = hsv(rng.random(), 0.75, 0.85)
    angle = rng.choice([-1.0, 1.0]) * 2 * np.pi * np.cumsum(1.2 * strength) / 25 + rng.uniform(0, 6)
    for side in (-1, 1):
        canvas.line(x, y, x + side * 6, floor, 1.8, (0.35, 0.25, 0.18))
    canvas.ellipse(x, y, r, r, shade(colour, 0.5))
    canvas.ellipse(x, y, r - 1.6, r - 1.6, (0.95, 0.93, 0.88))
    for spoke in range(3):
        a = angle + 2 * np.pi * spoke / 3
        canvas.line(
            x,
            y,
            x + (r - 1.5) * np.cos(a),
            y + (r - 1.5) * np.sin(a),
            2.4,
            colour if spoke else (0.1, 0.1, 0.12),
        )
    canvas.ellipse(x, y, 1.8, 1.8, (0.15, 0.15, 0.18))


def draw_distractor(canvas: Canvas, rng: np.random.Generator, kind: str, x: float) -> None:
    """Something that moves and touches nothing: "balloon", "butterfly" or "pendulum"."""
    num_frames = canvas.num_frames
    t = np.arange(num_frames) / 25
    colour = hsv(rng.random(), rng.uniform(0.6, 0.95), rng.uniform(0.8, 1.0))
    if kind == "balloon":
        bx, by = x + 3 * wander(rng, num_frames, 3.0), 13 + 4 * wander(rng, num_frames, 2.5)
        canvas.line(bx, by + 4, x, by + 15, 0.6, (0.25, 0.25, 0.25))
        canvas.ellipse(bx, by, 4.2, 5.0, colour)
        canvas.ellipse(bx - 1.4, by - 1.8, 1.0, 1.3, (1.0, 1.0, 1.0), 0.8)
    elif kind == "butterfly":
        bx, by = x + 10 * wander(rng, num_frames, 2.5), 15 + 7 * wander(rng, num_frames, 1.7)
        flap = 0.9 + 2.3 * np.abs(np.sin(2 * np.pi * 2.7 * t))
        for side in (-1, 1):
            canvas.ellipse(bx + side * (flap * 0.8), by - 0.8, flap, 2.4, colour)
            canvas.ellipse(bx + side * (flap * 0.7), by + 1.6, 0.7 * flap, 1.4, shade(colour, 0.7))
        canvas.line(bx, by - 2, bx, by + 2.5, 1.0, (0.1, 0.1, 0.1))
    else:
        angle = rng.uniform(0.4, 0.8) * np.sin(2 * np.pi * rng.uniform(0.5, 0.9) * t + rng.uniform(0, 6))
        px, py = x + 15 * np.sin(angle), -1 + 15 * np.cos(angle)
        canvas.line(x, -3.0, px, py, 0.8, (0.2, 0.2, 0.2))
        canvas.ellipse(px, py, 3.0, 3.0, colour)
