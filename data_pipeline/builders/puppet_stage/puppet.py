"""The puppet: a face with a moving mouth and blinking eyes, a body, and a random appearance."""

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage.canvas import Canvas, Colour, hsv, shade
from dualdub_jax.data_pipeline.builders.puppet_stage.motion import wander


def draw_puppet(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, diameter: float, mouth: np.ndarray
) -> None:
    """Draws one puppet in front of the scene.

    Args:
        canvas: the film.
        rng: the clip's generator; decides the appearance, which is independent of the voice.
        x: centre of the head at rest, pixels.
        y: the same.
        diameter: of the head, pixels.
        mouth: float[T], 0 closed to 1 wide open.
    """
    num_frames = canvas.num_frames
    skin = hsv(rng.random(), rng.uniform(0.25, 0.6), rng.uniform(0.72, 1.0))
    shirt = hsv(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.8))
    hair = hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.15, 0.7))
    style = rng.choice(["tuft", "bald", "hat", "bob", "ears"])
    r = diameter / 2
    sway_x = wander(rng, num_frames, 2.5) * rng.uniform(0.02, 0.09) * diameter
    sway_y = wander(rng, num_frames, 2.0) * rng.uniform(0.01, 0.05) * diameter
    # A puppet's head is thrown back a little when the mouth opens.
    cx, cy = x + sway_x, y + sway_y - 0.04 * diameter * mouth
    height = r * rng.uniform(1.02, 1.14)

    canvas.ellipse(x + 0.4 * sway_x, y + 2.35 * r, 1.05 * r, 1.35 * r, shirt)
    canvas.ellipse(x + 0.4 * sway_x, y + 1.12 * r, 0.42 * r, 0.22 * r, shade(shirt, 1.5))
    if style == "ears":
        for side in (-1, 1):
            canvas.ellipse(cx + side * 0.7 * r, cy - 0.8 * height, 0.34 * r, 0.34 * r, shade(skin, 0.75))
            canvas.ellipse(cx + side * 0.7 * r, cy - 0.8 * height, 0.17 * r, 0.17 * r, shade(skin, 1.5))
    if style == "bob":
        canvas.ellipse(cx, cy - 0.05 * r, 1.16 * r, 1.12 * height, hair)
    canvas.ellipse(cx, cy, r, height, shade(skin, 0.62))
    canvas.ellipse(cx, cy, r - 0.9, height - 0.9, skin)
    _draw_hair(canvas, str(style), cx, cy, r, height, hair)
    _draw_eyes(canvas, rng, cx, cy, r, skin)
    canvas.ellipse(cx, cy + 0.10 * r, 0.13 * r, 0.15 * r, shade(skin, 0.7))
    for side in (-1, 1):
        canvas.ellipse(cx + side * 0.62 * r, cy + 0.22 * r, 0.16 * r, 0.11 * r, (0.95, 0.45, 0.45), 0.35)
    _draw_mouth(canvas, cx, cy + 0.53 * r, r, mouth)


def _draw_hair(
    canvas: Canvas, style: str, cx: np.ndarray, cy: np.ndarray, r: float, height: float, hair: Colour
) -> None:
    if style == "tuft":
        for lean in (-0.35, 0.0, 0.35):
            canvas.line(
                cx + 0.4 * lean * r, cy - 0.85 * height, cx + lean * r, cy - 1.22 * height, 0.2 * r, hair
            )
        canvas.ellipse(cx, cy - 0.84 * height, 0.5 * r, 0.17 * r, hair)
    elif style == "bob":
        canvas.ellipse(cx, cy - 0.72 * height, 0.72 * r, 0.26 * r, hair)
    elif style == "hat":
        canvas.rectangle(cx, cy - 1.05 * height, 0.55 * r, 0.28 * r, hair)
        canvas.rectangle(cx, cy - 0.78 * height, 0.95 * r, 0.09 * r, shade(hair, 0.8))


def _draw_eyes(
    canvas: Canvas, rng: np.random.Generator, cx: np.ndarray, cy: np.ndarray, r: float, skin: Colour
) -> None:
    num_frames = canvas.num_frames
    lid = np.ones(num_frames)
    blink = int(rng.integers(-20, 50))
    while blink < num_frames:
        for offset, openness in ((-1, 0.5), (0, 0.08), (1, 0.08), (2, 0.55)):
            if 0 <= blink + offset < num_frames:
                lid[blink + offset] = openness
        blink += int(rng.integers(25, 80))
    # The gaze jumps and rests, as eyes do.
    jumps = np.cumsum(rng.random(num_frames) < 0.04)
    targets = rng.uniform(-1, 1, (jumps[-1] + 1, 2))
    gaze_x, gaze_y = targets[jumps].T
    size = r * rng.uniform(0.19, 0.26)
    iris = hsv(rng.random(), 0.6, 0.2)
    for side in (-1, 1):
        x, y = cx + side * 0.38 * r, cy - 0.27 * r
        canvas.ellipse(x, y, size + 0.5, size * lid + 0.5, shade(skin, 0.6))
        canvas.ellipse(x, y, size, size * lid, (1.0, 1.0, 1.0))
        pupil = 0.55 * size
        canvas.ellipse(
            x + 0.35 * size * gaze_x,
            y + 0.3 * size * gaze_y * lid,
            pupil,
            np.minimum(pupil, size * lid),
            iris,
        )


def _draw_mouth(canvas: Canvas, x: np.ndarray, y: np.ndarray, r: float, mouth: np.ndarray) -> None:
    """The mouth is a line when closed and grows to a third of the head's height, with tongue and teeth."""
    open_y = 0.55 + (0.36 * r) * mouth
    open_x = r * (0.47 - 0.10 * mouth)
    drop = y + 0.10 * r * mouth
    canvas.ellipse(x, drop, open_x + 0.8, open_y + 0.7, (0.55, 0.12, 0.14), np.clip(0.35 + 3 * mouth, 0, 1))
    canvas.ellipse(x, drop, open_x, open_y, (0.16, 0.02, 0.04))
    canvas.ellipse(
        x,
        drop + 0.62 * open_y,
        0.6 * open_x,
        0.36 * open_y,
        (0.93, 0.38, 0.42),
        np.clip(2.5 * mouth - 0.7, 0, 1),
    )
    canvas.rectangle(
        x,
        drop - 0.80 * open_y,
        0.55 * open_x,
        0.14 * open_y,
        (1.0, 1.0, 0.95),
        np.clip(2.5 * mouth - 0.9, 0, 1),
    )
