"""Metrics that tell of the process that scores them, in a module that imports no JAX."""

import multiprocessing
import os
import sys
import time

import numpy as np

from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure
from tests.evaluation.toy import Level

_WAYS = {"killed": lambda: os.kill(os.getpid(), 9), "ends": lambda: os._exit(3), "exits": sys.exit}


class Deadly(ClipMetric):
    """Ends its process at one clip."""

    name = "deadly"
    figures = (Figure("deadly_score", "", "higher", "Of survivors."),)

    def __init__(self, clip_id, way):
        self._clip_id, self._way = clip_id, way

    def score_clip(self, clip):
        if clip.id == self._clip_id:
            _WAYS[self._way]()
        return {"deadly_score": np.float64(1.0)}


class Unspeakable(Exception):
    """Cannot be pickled: its constructor needs two arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


class Refuses(Level):
    """Fails on every clip alike, with an exception that no pipe can carry."""

    name = "refuses"
    figures = (Figure("refused", "", "higher", "Never measured."),)

    def score(self, clips):
        raise Unspeakable("out of", "order")


class WithJax(ClipMetric):
    """Tells the process that it is scored in."""

    name = "with_jax"
    uses_jax = True
    figures = (Figure("process_id", "", "neither", "Of the process."),)

    def score_clip(self, clip):
        return {"process_id": np.float64(os.getpid())}


class Threads(ClipMetric):
    """Tells the process, its limit of threads, and whether JAX is there."""

    name = "threads"
    figures = tuple(Figure(name, "", "neither", "") for name in ("process_id", "threads", "has_jax"))

    def score_clip(self, clip):
        time.sleep(0.2)  # so that no process takes all clips
        found = os.getpid(), int(os.environ["OMP_NUM_THREADS"]), "jax" in sys.modules
        return dict(zip(("process_id", "threads", "has_jax"), map(np.float64, found), strict=True))


class Endless(ClipMetric):
    """Never finishes, and tells by a file that it has begun."""

    name = "endless"
    figures = (Figure("never", "", "higher", "Is not measured."),)

    def __init__(self, folder):
        self._folder = folder

    def score_clip(self, clip):
        self._lock = multiprocessing.RLock()  # as tqdm has one
        (self._folder / str(os.getpid())).touch()
        time.sleep(600)
