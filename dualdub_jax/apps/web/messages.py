"""Texts of user errors, which are written for a command line, as the page shows them."""

import pathlib
import re

from dualdub_jax.errors import UserError, UserErrors

# Options of `dualdub dub`, as their controls are labelled on the page.
_LABELS = {
    "--script": "the script",
    "--voice": "the voice",
    "--voices": "the voices",
    "--seed": "seed",
    "--takes": "“Takes”",
    "--retake": "the region",
    "--no-speech": "“Speech” off",
    "--no-background": "“Background” off",
    "--rt60": "“Reverberation time”",
    "--noise": "“Noise floor”",
    "--allow-overrun": "“Cut cues at the film's end”",
    "--allow-inaudible": "“Finish although nothing is audible”",
    "--lufs": "“Loudness”",
    "--true-peak": "“True peak”",
    "--duck": "“Ducking”",
    "--keep-original": "“Keep the film's own sound”",
    "--stem-rate": "“Rate of the stems”",
    "--language": "“Language of the speech”",
    "--subtitles": "“Add a subtitle track”",
    "--max-rate": "“Fastest speech”",
    "--strict": "“Refuse cues that are too short”",
}


def error_text(error: UserError, root: pathlib.Path) -> str:
    """The text of an error, as `page_text`."""
    lines = error.messages if isinstance(error, UserErrors) else [str(error)]
    return "\n".join(page_text(line, root) for line in lines)


def page_text(text: str, root: pathlib.Path) -> str:
    """A sentence without the server's folders, and with labels in place of options.

    Args:
        text: one sentence.
        root: of all files of the server; files in it are shown by their names.
    """
    text = without_folders(" ".join(text.split()), root)
    text = re.sub(r"try -o \S*(\.\w+)", r"choose the file format \1", text)
    return re.sub(r"--[a-z][a-z0-9-]*", lambda match: _LABELS.get(match[0], match[0]), text)


def without_folders(text: str, root: pathlib.Path) -> str:
    """A text in which files below a folder are named without the folders that they lie in."""
    return re.sub(rf"{re.escape(str(root))}/(?:[^\s:;,/]+/)*", "", text)
