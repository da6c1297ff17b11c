"""The page's snippets of HTML: status, messages, what is known of a film, downloads."""

import html
import math
import urllib.parse
from collections.abc import Iterable

from dualdub_jax.apps.web.device_queue import Task
from dualdub_jax.apps.web.job import Job
from dualdub_jax.media.film import Film

_STEPS = {
    "read video": "Reading the film",
    "read inputs": "Reading script and voice",
    "generate": "Generating",
    "retake": "Generating the region",
    "score": "Comparing the takes",
    "decode": "Decoding",
    "write": "Writing the files",
    "report": "Writing the report",
    "draw": "Drawing the tracks",
    "measure": "Measuring the tracks",
    "recognise": "Recognising the words",
}


def note(text: str) -> str:
    """A paragraph."""
    return f'<p class="dd-note">{html.escape(text)}</p>'


def error(text: str) -> str:
    """What went wrong."""
    return f'<p class="dd-error" role="alert">{html.escape(text)}</p>'


def warnings(sentences: Iterable[str]) -> str:
    """What the visitor should know."""
    return "".join(f'<p class="dd-warning">{html.escape(sentence)}</p>' for sentence in sentences)


def film_facts(film: Film) -> str:
    """What is known of a film before the work."""
    width, height = film.size
    sound = "; its own sound will be replaced" if film.has_sound else ""
    facts = (
        f"{film.path.name}: {float(film.duration_s):.2f} s, {width} by {height}, "
        f"{film.rate_hz:.4g} frames/s, {film.codec}{sound}"
    )
    return note(facts) + warnings(
        warning.replace(str(film.path), film.path.name) for warning in film.warnings
    )


def status(task: Task, num_before: int) -> str:
    """How far a job is."""
    if num_before:
        are = "1 film is" if num_before == 1 else f"{num_before} films are"
        return _status(f"Waiting: {are} before yours", None)
    if not task.step:
        return _status("Starting", None)
    text = _STEPS.get(task.step, task.step.capitalize())
    if task.fraction is not None:
        text += f", {task.fraction:.0%}"
    if (left_s := task.left_s) is not None:
        text += f", about {left_s:.0f} s left" if left_s < 90 else f", about {left_s / 60:.0f} min left"
    return _status(text, task.fraction)


def _status(text: str, fraction: float | None) -> str:
    value = "" if fraction is None else f' value="{fraction:.3f}"'
    return (
        f'<div class="dd-status" role="status"><span>{html.escape(text)}</span>'
        f'<progress max="1"{value} aria-label="Progress"></progress></div>'
    )


def done(job: Job) -> str:
    """A finished film: its verdict, and what the visitor should know."""
    unchecked = [f"Words are not checked: {job.no_recognition}"] if job.no_recognition else []
    verdict = note(f"Done. {job.verdict[:1].upper()}{job.verdict[1:]}.")
    return verdict + warnings([*job.warnings, *unchecked])


def player(job: Job) -> str:
    """The player of a job; it asks for its document again whenever the revision has changed."""
    return f'<dualdub-player src="media/{job.token}/player.json?{job.revision}"></dualdub-player>'


def downloads(job: Job) -> str:
    """Links to the files of a job."""
    items = []
    for name, what in job.downloads.items():
        size = job.files[name].stat().st_size
        size_text = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{math.ceil(size / 1e3)} kB"
        address = f"media/{job.token}/{urllib.parse.quote(name)}?download=1&amp;{job.revision}"
        items.append(
            f'<li><a href="{address}" download>{html.escape(name)}</a> <span>{html.escape(what)}, {size_text}'
            "</span></li>"
        )
    return f'<ul class="dd-downloads">{"".join(items)}</ul>'
