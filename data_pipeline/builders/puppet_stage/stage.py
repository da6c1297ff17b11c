"""The action of a clip: the plan (positions, contacts, continuous sounds), then its frames."""

import dataclasses
from typing import Any

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage import motion, scenery, sounds
from dualdub_jax.data_pipeline.builders.puppet_stage.canvas import Canvas
from dualdub_jax.data_pipeline.builders.puppet_stage.puppet import draw_puppet
from dualdub_jax.data_pipeline.builders.puppet_stage.things import draw_thing

DISTRACTORS = ("balloon", "butterfly", "pendulum")
_THING_WIDTH = 20.5  # pixels
_MIME_GAP = 6.0  # pixels between a mime and its target


@dataclasses.dataclass(frozen=True)
class Thing:
    """An impact thing on stage. A mime moves as if it struck, never touches, and is silent."""

    kind: str
    x: float
    tuning: float
    is_mime: bool
    contacts: list[motion.Contact]
    gap: np.ndarray


@dataclasses.dataclass(frozen=True)
class Stage:
    """The plan of a clip.

    Attributes:
        place: a key of `sounds.PLACES`.
        num_frames: T.
        puppet: (x, diameter) of the head in pixels, or None.
        things: impact things.
        wheel_x: centre of the wheel in pixels, or None.
        continuous: strength float[T] of each continuous sound present.
        distractor: one of `DISTRACTORS`, or None.
    """

    place: str
    num_frames: int
    puppet: tuple[float, float] | None
    things: list[Thing]
    wheel_x: float | None
    continuous: dict[str, np.ndarray]
    distractor: str | None

    def events(self) -> dict[str, Any]:
        """The plan's ground truth for evaluation, ready for JSON."""
        return {
            "place": self.place,
            "contacts": sorted(
                (
                    {"time_s": contact.frame / 25, "class": thing.kind} | dataclasses.asdict(contact)
                    for thing in self.things
                    for contact in thing.contacts
                ),
                key=lambda contact: contact["time_s"],
            ),
            "things": [{"class": t.kind, "x": t.x, "is_mime": t.is_mime} for t in self.things],
            "continuous": dict(self.continuous),
            "has_puppet": self.puppet is not None,
            "distractor": self.distractor,
        }


def plan_stage(rng: np.random.Generator, num_frames: int, has_puppet: bool) -> Stage:
    """Draws a plan; without a puppet there is room for more things."""
    shares = (0.10, 0.55, 0.35, 0.0) if has_puppet else (0.05, 0.45, 0.35, 0.15)
    num_things = int(rng.choice(4, p=shares))
    kinds = [str(kind) for kind in rng.choice(list(sounds.IMPACTS), num_things, replace=False)]
    has_wheel = num_things < (2 if has_puppet else 3) and rng.random() < 0.3
    columns = [*kinds, *(["wheel"] if has_wheel else []), *(["puppet"] if has_puppet else [])]
    diameter = float(rng.uniform(22, 36))
    if len(columns) == 3:
        diameter = min(diameter, 24.0)
    rng.shuffle(columns)
    widths = np.array([diameter + 2 if column == "puppet" else _THING_WIDTH for column in columns])
    slack = max(64 - widths.sum(), 0.0)
    gaps = rng.dirichlet(np.full(len(columns) + 1, 1.5)) * slack
    centres = np.cumsum(gaps[:-1]) + np.cumsum(widths) - widths / 2
    centres -= max(widths.sum() - 64, 0) / 2
    places = dict(zip(columns, (float(x) for x in centres), strict=True))

    things: list[Thing] = []
    taken: list[int] = []
    # A ball obeys gravity, so it goes first and the others keep out of its way.
    for kind in sorted(kinds, key=lambda k: k != "ball"):
        is_mime = kind != "ball" and rng.random() < 0.12
        if kind == "ball":
            contacts, gap = motion.bounces(rng, num_frames)
        else:
            contacts, gap = motion.strikes(rng, num_frames, taken)
        if is_mime:
            contacts, gap = [], gap + _MIME_GAP
        taken += [contact.frame for contact in contacts]
        things.append(Thing(kind, places[kind], float(rng.uniform(0.87, 1.15)), is_mime, contacts, gap))
    continuous = {}
    if has_wheel:
        continuous["wheel"] = motion.strength_curve(rng, num_frames)
    if rng.random() < 0.2:
        continuous["rain"] = motion.strength_curve(rng, num_frames)
    outdoors = [place for place in sounds.PLACES if place != "kitchen"]
    return Stage(
        place=str(rng.choice(outdoors if "rain" in continuous else list(sounds.PLACES))),
        num_frames=num_frames,
        puppet=(places["puppet"], diameter) if has_puppet else None,
        things=things,
        wheel_x=places.get("wheel"),
        continuous=continuous,
        distractor=str(rng.choice(DISTRACTORS)) if rng.random() < 0.35 else None,
    )


def draw_stage(rng: np.random.Generator, plan: Stage, mouth: np.ndarray, size: int) -> np.ndarray:
    """Renders the frames of a plan.

    Args:
        rng: the clip's generator; decides appearances, which are independent of the sound.
        plan: of the clip.
        mouth: float[T], the puppet's mouth opening, 0 to 1.
        size: height and width, pixels; the stage is laid out for 64.

    Returns:
        uint8[T, size, size, 3].
    """
    shake = rng.uniform(0.2, 1.3) if rng.random() < 0.6 else 0.0
    camera_x, camera_y = (shake * motion.wander(rng, plan.num_frames, 1.2) for _ in range(2))
    floor = float(rng.uniform(54, 59))
    pixels = scenery.backdrop(rng, plan.place, size, floor - rng.uniform(8, 12), camera_x, camera_y)
    canvas = Canvas(pixels, camera_x, camera_y)
    if plan.distractor is not None:
        # Behind the puppet: a mouth stays in sight.
        scenery.draw_distractor(canvas, rng, plan.distractor, float(rng.uniform(8, size - 8)))
    if plan.puppet is not None:
        x, diameter = plan.puppet
        y = float(rng.uniform(max(18, 0.62 * diameter), 29))
        draw_puppet(canvas, rng, x, y, diameter, mouth)
    if plan.wheel_x is not None:
        scenery.draw_wheel(canvas, rng, plan.wheel_x, floor, plan.continuous["wheel"])
    for thing in plan.things:
        draw_thing(canvas, rng, thing.kind, thing.x, floor, thing.gap, thing.contacts)
    if "rain" in plan.continuous:
        scenery.draw_rain(canvas, rng, plan.continuous["rain"])
    exposure = np.float32(rng.uniform(0.88, 1.08))
    return np.round(np.clip(canvas.pixels * exposure, 0, 1) * 255).astype(np.uint8)
