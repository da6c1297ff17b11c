"""Motion of the things on stage: contacts on the frame grid, the gap that closes at each, and slow wandering.

A contact falls on the time of a frame (frame f shows the world at f / 25 s), so the touching pose is
always on screen, and its sound begins with that frame. Source: our choice.
"""

import dataclasses

import numpy as np

# A thing closes its gap within this many frames, whatever the speed: so speed is height.
STRIKE_FRAMES = 4
_STRIKE_PIXELS = 12.0
_BALL_GRAVITY = 0.5  # pixels a frame²
_BALL_LONGEST_FRAMES = 20
_REST_PIXELS = 4.0


@dataclasses.dataclass(frozen=True)
class Contact:
    """One contact.

    Attributes:
        frame: grid frame that shows it.
        speed: just before the contact, 0 to 1 of the fastest that the class can be.
        speed_px_per_frame: the same as seen on screen.
    """

    frame: int
    speed: float
    speed_px_per_frame: float


def strikes(rng: np.random.Generator, num_frames: int, taken: list[int]) -> tuple[list[Contact], np.ndarray]:
    """Repeated strikes: lift, strike within `STRIKE_FRAMES`, rebound.

    Args:
        rng: the clip's generator.
        num_frames: T.
        taken: frames of other contacts; none of ours is within 4 frames of one.

    Returns:
        The contacts, and the gap in pixels (0 at a contact): float[T].
    """
    contacts: list[Contact] = []
    steady = rng.integers(10, 28) if rng.random() < 0.4 else None
    frame = int(rng.integers(6, 26))
    while frame < num_frames - 2:
        if all(abs(frame - other) > 4 for other in taken):
            speed = float(rng.uniform(0.35, 1.0))
            contacts.append(Contact(frame, speed, 2 * _STRIKE_PIXELS * speed / STRIKE_FRAMES))
        frame += int(steady if steady is not None else rng.integers(10, 34))
    gap = np.full(num_frames, _REST_PIXELS)
    previous, start_gap = -12, _REST_PIXELS
    for contact in contacts:
        height = _STRIKE_PIXELS * contact.speed
        falling = contact.frame - STRIKE_FRAMES
        for t in range(max(previous, 0), min(contact.frame + 1, num_frames)):
            if t < falling:
                s = (t - previous) / max(falling - previous, 1)
                gap[t] = start_gap + (height - start_gap) * np.sin(np.pi / 2 * min(1.6 * s, 1.0))
            else:
                gap[t] = height * (1 - ((t - falling) / STRIKE_FRAMES) ** 2)
        previous, start_gap = contact.frame, 0.0
    for t in range(max(previous, 0), num_frames):
        gap[t] = start_gap + (_REST_PIXELS - start_gap) * min((t - previous) / 5, 1.0)
    return contacts, gap


def bounces(rng: np.random.Generator, num_frames: int) -> tuple[list[Contact], np.ndarray]:
    """A ball: held, dropped, then bouncing out or dribbled. Returns as `strikes` does."""
    dribbled = rng.random() < 0.5
    arc = int(rng.integers(12, _BALL_LONGEST_FRAMES + 1))
    frame = arc // 2 + int(rng.integers(1, 20))
    gap = np.full(num_frames, _arc_height(arc))
    _put(gap, frame - arc / 2, arc, first=frame - arc // 2)
    contacts: list[Contact] = []
    while frame < num_frames:
        contacts.append(Contact(frame, arc / _BALL_LONGEST_FRAMES, _BALL_GRAVITY * arc / 2))
        gap[frame:] = 0
        arc = int(rng.integers(8, _BALL_LONGEST_FRAMES + 1)) if dribbled else int(arc * 0.78)
        if arc < 6:
            break
        _put(gap, frame, arc, first=frame)
        frame += arc
    return [c for c in contacts if c.frame < num_frames - 1], gap


def _arc_height(arc: int) -> float:
    return _BALL_GRAVITY * arc**2 / 8


def _put(gap: np.ndarray, start: float, arc: int, first: int) -> None:
    """Writes the parabola from `start` to `start + arc` into gap, from frame `first` on."""
    t = np.arange(max(first, 0), min(int(start + arc) + 1, len(gap)))
    s = (t - start) / arc
    gap[t] = 4 * _arc_height(arc) * s * (1 - s)


def since_contact(contacts: list[Contact], num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames since the last contact (100 before the first) and that contact's speed: float[T] each."""
    age, speed = np.full(num_frames, 100.0), np.zeros(num_frames)
    for contact in contacts:
        age[contact.frame :] = np.arange(num_frames - contact.frame)
        speed[contact.frame :] = contact.speed
    return age, speed


def wander(rng: np.random.Generator, num_frames: int, period_s: float = 1.5) -> np.ndarray:
    """Smooth motion around 0 within about -1 to 1, with periods around `period_s`: float[T]."""
    t = np.arange(num_frames) / 25
    waves = [
        np.sin(2 * np.pi * (t / (period_s * stretch) + rng.random())) for stretch in rng.uniform(0.6, 1.8, 3)
    ]
    return np.sum(waves, axis=0) / 2.2


def strength_curve(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """The strength of a continuous sound, 0 to 1, with slow swells and stops: float[T]."""
    knots = np.clip(rng.uniform(-0.15, 1.1, 3 + num_frames // 30), 0, 1)
    if rng.random() < 0.3:
        knots[:] = knots.max()
    t = np.linspace(0, len(knots) - 1, num_frames)
    i = np.minimum(t.astype(int), len(knots) - 2)
    s = (1 - np.cos(np.pi * (t - i))) / 2
    return knots[i] * (1 - s) + knots[i + 1] * s
