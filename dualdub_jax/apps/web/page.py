"""The page: its controls, and which function stands behind each."""

import importlib.resources
from collections.abc import Sequence
from typing import Any

import gradio

from dualdub_jax.apps.web.actions import Actions
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.settings import FITTING, MAX_SPEAKERS, MAX_TAKES, STEM_RATES, SUFFIXES
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE

TITLE = "DualDub"
HEAD = '<script type="module" src="web/player.js"></script>'
# The player's events become the page's: a region fills two numbers, in the browser; a choice asks the server.
_PLAYER_EVENTS = """
element.addEventListener("region", (event) => { window.dualdubRegion = event.detail; trigger("input"); });
element.addEventListener("choose", (event) => trigger("select", event.detail));
"""
_REGION_TO_NUMBERS = (
    "() => { const r = window.dualdubRegion; return [`${r?.start ?? ''}`, `${r?.end ?? ''}`]; }"
)
_NUMBERS_TO_REGION = """
(...texts) => {
  const [start, end] = texts.map((text) => (text?.trim() ? Number(text.replace(",", ".")) : NaN));
  document.querySelector("dualdub-player")?.setRegion?.(start, end);
}
"""
_NARROW = 120  # pixels; two controls stand side by side on a phone


def make_page(actions: Actions, limits: Limits) -> gradio.Blocks:
    """Builds the page."""
    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        gradio.Markdown("# DualDub\nA soundtrack for a silent film: speech and background, each a track.")
        with gradio.Row():
            with gradio.Column(scale=2, min_width=320):
                inputs = _inputs(actions, limits)
            with gradio.Column(scale=3, min_width=320):
                _results(page, actions, inputs)
    page.queue(default_concurrency_limit=32, max_size=256, api_open=False)
    return page


def style_sheet() -> str:
    """CSS of the page around the player."""
    return importlib.resources.files("dualdub_jax").joinpath("assets", "web", "page.css").read_text("utf-8")


def make_theme() -> gradio.Theme:
    """A theme whose fonts are the system's: nothing is loaded from elsewhere."""
    return gradio.themes.Base(
        primary_hue="blue",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        # Gradio's own are too light to read.
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def _inputs(actions: Actions, limits: Limits) -> list[gradio.components.Component]:
    """The controls of a request, in the order of the arguments of `Actions.generate`."""
    film = gradio.File(
        label=f"Film, up to {limits.max_length_s / 60:g} min and {limits.max_upload_mb:g} MB",
        height=150,
    )
    facts = gradio.HTML(elem_id="film-facts")
    script = gradio.Textbox(
        label="Script: the words to speak, or subtitles with times",
        placeholder="lay blue at e nine soon",
        lines=4,
        max_lines=14,
    )
    script_file = gradio.File(
        label="or drop a text or subtitle file",
        height=140,
    )
    script_error = gradio.HTML(elem_id="script-error")
    voice = gradio.Audio(
        label="Reference voice (optional)",
        sources=["upload", "microphone"],
        type="filepath",
        buttons=[],
        elem_id="voice",
    )
    speaker_voices = [
        gradio.Audio(sources=["upload", "microphone"], type="filepath", buttons=[], visible=False)
        for _ in range(MAX_SPEAKERS)
    ]
    voice_error = gradio.HTML(elem_id="voice-error")
    settings = _settings()
    slots = [script_error, *speaker_voices]
    _on([film.upload, film.clear], actions.take_film, film, facts)
    _on([script_file.upload, script_file.clear], actions.take_script, script_file, [script, *slots])
    _on([script.blur, script.submit], actions.check_script, script, slots)
    for one in (voice, *speaker_voices):
        _on([one.upload, one.stop_recording, one.clear], actions.take_voice, one, voice_error)
    return [film, script, voice, *speaker_voices, *settings]


def _settings() -> list[gradio.components.Component]:
    """The controls of `Settings`, in the order of its fields."""
    with gradio.Accordion("Settings", open=False):
        with gradio.Row():
            use_speech = gradio.Checkbox(True, label="Speech", min_width=_NARROW)
            use_background = gradio.Checkbox(True, label="Background", min_width=_NARROW)
        with gradio.Row():
            seed = _number("Seed", "a whole number", "0")
            takes = _number("Takes", f"1 to {MAX_TAKES}", "1")
        with gradio.Row():
            suffix = _choice((FITTING, *SUFFIXES), "File format")
            stem_rate = _choice(STEM_RATES, "Rate of the stems")
        add_subtitles = gradio.Checkbox(False, label="Add a subtitle track of what is spoken")
        language = gradio.Textbox(
            label="Language of the speech", info="for players' menus: en, deu, pt-BR", max_lines=1
        )
        with gradio.Row():
            lufs = _number("Loudness", "LUFS, such as -23", "no target")
            true_peak = _number("True peak", "dBTP", "-1")
        with gradio.Row():
            duck = _number("Ducking", "dB under speech", "0")
            own_sound_db = _number("Keep the film's own sound", "gain, dB", "replaced")
        with gradio.Row():
            rt60_s = _number("Reverberation time", "0.05 to 3.2 s", "sampled")
            noise_dbfs = _number("Noise floor", "-80 to -20 dBFS", "sampled")
        max_rate = _number(
            "Fastest speech",
            f"times {COMFORTABLE_RATE} letters a second; empty: {MAX_RATE / COMFORTABLE_RATE:.2f}",
        )
        strict = gradio.Checkbox(False, label="Refuse cues that are too short")
        allow_overrun = gradio.Checkbox(False, label="Cut cues at the film's end")
        allow_inaudible = gradio.Checkbox(False, label="Finish although nothing is audible")
    mix = [lufs, true_peak, duck, own_sound_db]
    rest = [rt60_s, noise_dbfs, max_rate, strict, allow_overrun, allow_inaudible]
    return [use_speech, use_background, seed, takes, suffix, add_subtitles, language, stem_rate, *mix, *rest]


def _choice(choices: Sequence[str], label: str) -> gradio.Dropdown:
    """One of a few, the first by default."""
    return gradio.Dropdown(list(choices), value=choices[0], label=label, min_width=_NARROW)


def _number(label: str, info: str | None = None, placeholder: str = "", **options: Any) -> gradio.Textbox:
    """A number that may be left empty; Gradio's own would then be zero. `numbers.py` reads it."""
    return gradio.Textbox(
        label=label, info=info, placeholder=placeholder, max_lines=1, min_width=_NARROW, **options
    )


def _results(page: gradio.Blocks, actions: Actions, inputs: list[gradio.components.Component]) -> None:
    with gradio.Row():
        generate = gradio.Button("Generate the soundtrack", variant="primary", elem_id="generate")
        cancel = gradio.Button("Cancel", visible=False, elem_id="cancel")
    status = gradio.HTML(elem_id="status")
    with gradio.Column(visible=False) as results:
        player = gradio.HTML(js_on_load=_PLAYER_EVENTS, elem_id="player")
        with gradio.Row():
            start_s = _number("From", placeholder="seconds", elem_id="region-start")
            end_s = _number("To", placeholder="seconds", elem_id="region-end")
            seed = _number("Seed", placeholder="the next")
        redo = gradio.Button("Redo this region", elem_id="redo")
        gradio.Markdown("### Files")
        downloads = gradio.HTML(elem_id="downloads")
    outputs = [status, player, downloads, results, generate, cancel]
    _on([generate.click], actions.generate, inputs, outputs, concurrency_limit=None)
    _on([redo.click], actions.redo, [start_s, end_s, seed], outputs, concurrency_limit=None)
    _on([player.select], actions.choose, None, outputs, concurrency_limit=None)
    _on([player.input], None, None, [start_s, end_s], js=_REGION_TO_NUMBERS)
    _on([start_s.change, end_s.change], None, [start_s, end_s], None, js=_NUMBERS_TO_REGION)
    _on([cancel.click], actions.cancel, None, None)
    _on([page.load], actions.show, None, outputs)


def _on(events: list[Any], function: Any, inputs: Any, outputs: Any, **options: Any) -> None:
    gradio.on(
        events,
        function,
        inputs=inputs,
        outputs=outputs,
        show_progress="hidden",
        api_visibility="private",
        **options,
    )
