"""A film as one array, and anti-aliased shapes drawn into all its frames at once.

Coordinates are pixels, x to the right and y down, pixel centres at halves; each coordinate is a number or
an array over time. Every shape is a signed distance turned into coverage, evaluated only in the box that
the shape ever touches, so a clip of 75 frames is drawn in some 20 ms. Source: our choice.
"""

import colorsys

import numpy as np

Coordinate = float | np.ndarray
Colour = tuple[float, float, float]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour in [0, 1]; hue in turns."""
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` darkened (factor below 1) or lightened towards white (above 1, to at most 2)."""
    if factor <= 1:
        return tuple(c * factor for c in colour)
    return tuple(c + (1 - c) * (factor - 1) for c in colour)


class Canvas:
    """Frames to draw on.

    Attributes:
        pixels: float32[T, height, width, 3] in [0, 1].
    """

    def __init__(
        self, pixels: np.ndarray, camera_x: np.ndarray | None = None, camera_y: np.ndarray | None = None
    ) -> None:
        """Draws on `pixels`; everything drawn is moved by the camera's float[T] offsets."""
        self.pixels = pixels
        num_frames = pixels.shape[0]
        self._camera_x = np.zeros(num_frames, np.float32) if camera_x is None else camera_x.astype(np.float32)
        self._camera_y = np.zeros(num_frames, np.float32) if camera_y is None else camera_y.astype(np.float32)

    @property
    def num_frames(self) -> int:
        return self.pixels.shape[0]

    def ellipse(
        self,
        x: Coordinate,
        y: Coordinate,
        radius_x: Coordinate,
        radius_y: Coordinate,
        colour: Colour,
        opacity: Coordinate = 1.0,
        angle: Coordinate = 0.0,
    ) -> None:
        """A filled ellipse, turned by `angle` radians."""
        x, y, radius_x, radius_y, angle = self._over_time(x, y, radius_x, radius_y, angle)
        grid = self._box([x], [y], float(max(radius_x.max(), radius_y.max())))
        if grid is None:
            return
        u, v, box = self._local(grid, x, y, angle)
        radius_x, radius_y = np.maximum(radius_x, 0.1), np.maximum(radius_y, 0.1)
        norm = np.sqrt((u / radius_x) ** 2 + (v / radius_y) ** 2)
        # First-order distance: the implicit function over the length of its gradient.
        slope = np.sqrt((u / radius_x**2) ** 2 + (v / radius_y**2) ** 2) / np.maximum(norm, 1e-3)
        distance = (norm - 1) / np.maximum(slope, 1 / np.maximum(radius_x, radius_y))
        self._paint(box, distance, colour, opacity)

    def rectangle(
        self,
        x: Coordinate,
        y: Coordinate,
        half_width: Coordinate,
        half_height: Coordinate,
        colour: Colour,
        opacity: Coordinate = 1.0,
        angle: Coordinate = 0.0,
    ) -> None:
        """A filled rectangle around its centre, turned by `angle` radians."""
        x, y, half_width, half_height, angle = self._over_time(x, y, half_width, half_height, angle)
        grid = self._box([x], [y], float(np.hypot(half_width, half_height).max()))
        if grid is None:
            return
        u, v, box = self._local(grid, x, y, angle)
        self._paint(box, np.maximum(np.abs(u) - half_width, np.abs(v) - half_height), colour, opacity)

    def line(
        self,
        x0: Coordinate,
        y0: Coordinate,
        x1: Coordinate,
        y1: Coordinate,
        width: Coordinate,
        colour: Colour,
        opacity: Coordinate = 1.0,
    ) -> None:
        """A line with round ends."""
        x0, y0, x1, y1, width = self._over_time(x0, y0, x1, y1, width)
        grid = self._box([x0, x1], [y0, y1], float(width.max()))
        if grid is None:
            return
        u, v, box = self._local(grid, x0, y0, None)
        along_x, along_y = x1 - x0, y1 - y0
        length = np.maximum(along_x**2 + along_y**2, 1e-6)
        t = np.clip((u * along_x + v * along_y) / length, 0, 1)
        distance = np.sqrt((u - t * along_x) ** 2 + (v - t * along_y) ** 2) - width / 2
        self._paint(box, distance, colour, opacity)

    def polygon(
        self, points: list[tuple[Coordinate, Coordinate]], colour: Colour, opacity: Coordinate = 1.0
    ) -> None:
        """A filled convex polygon, its corners in clockwise order as seen on screen."""
        xs = [self._over_time(x)[0] for x, _ in points]
        ys = [self._over_time(y)[0] for _, y in points]
        grid = self._box(xs, ys, 1.0)
        if grid is None:
            return
        distance = None
        for i in range(len(points)):
            j = (i + 1) % len(points)
            edge_x, edge_y = xs[j] - xs[i], ys[j] - ys[i]
            length = np.maximum(np.hypot(edge_x, edge_y), 1e-6)
            u, v, box = self._local(grid, xs[i], ys[i], None)
            outside = (u * edge_y - v * edge_x) / length
            distance = outside if distance is None else np.maximum(distance, outside)
        self._paint(box, distance, colour, opacity)

    def _over_time(self, *values: Coordinate) -> list[np.ndarray]:
        """Each value as float32[T, 1, 1]."""
        return [np.broadcast_to(np.asarray(v, np.float32), (self.num_frames,))[:, None, None] for v in values]

    def _box(self, xs: list[np.ndarray], ys: list[np.ndarray], margin: float) -> tuple[slice, slice] | None:
        """Rows and columns that points, within `margin` pixels, touch at any time; None if off screen."""
        _, height, width, _ = self.pixels.shape
        left = min(float((x[:, 0, 0] + self._camera_x).min()) for x in xs) - margin - 1
        right = max(float((x[:, 0, 0] + self._camera_x).max()) for x in xs) + margin + 1
        top = min(float((y[:, 0, 0] + self._camera_y).min()) for y in ys) - margin - 1
        bottom = max(float((y[:, 0, 0] + self._camera_y).max()) for y in ys) + margin + 1
        rows = slice(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), height))
        columns = slice(max(int(np.floor(left)), 0), min(int(np.ceil(right)), width))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def _local(
        self, box: tuple[slice, slice], x: np.ndarray, y: np.ndarray, angle: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]]:
        """float32[T, h, w] each: the box's pixels relative to (x, y), turned back by `angle`; and the box."""
        rows, columns = box
        u = np.arange(columns.start, columns.stop, dtype=np.float32)[None, None, :] + np.float32(0.5)
        v = np.arange(rows.start, rows.stop, dtype=np.float32)[None, :, None] + np.float32(0.5)
        u = u - (x + self._camera_x[:, None, None])
        v = v - (y + self._camera_y[:, None, None])
        if angle is not None and np.any(angle):
            cos, sin = np.cos(angle), np.sin(angle)
            u, v = u * cos + v * sin, v * cos - u * sin
        return u, v, box

    def _paint(
        self, box: tuple[slice, slice], distance: np.ndarray, colour: Colour, opacity: Coordinate
    ) -> None:
        rows, columns = box
        coverage = np.clip(0.5 - distance, 0, 1) * self._over_time(opacity)[0]
        target = self.pixels[:, rows, columns]
        for channel in range(3):
            part = target[..., channel]
            part += coverage * (np.float32(colour[channel]) - part)
