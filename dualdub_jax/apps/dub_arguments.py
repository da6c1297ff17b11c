"""The options of `dualdub demo` and `dualdub dub`."""

import argparse
import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence

from dualdub_jax.apps.argument_types import add_model, count, names, real, seed, within
from dualdub_jax.config import SAMPLING_RANGES, SamplingConfig
from dualdub_jax.dubbing.rates import COMFORTABLE_RATE, MAX_RATE
from dualdub_jax.errors import UserError
from dualdub_jax.stores.argument import local


def add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        "demo",
        help="dub the bundled clip",
        description="Dubs the bundled clip with the bundled model.",
        epilog="example:\n  dualdub demo --out out/demo",
    )
    demo.add_argument("--out", type=local, default=pathlib.Path("out/demo"), metavar="DIR",
                      help="folder for the results (default: %(default)s)")  # fmt: skip
    demo.add_argument("--seed", type=seed, default=0, metavar="N", help="of the sampling (default: 0)")
    demo.set_defaults(command="demo")


def add_dub(commands: argparse._SubParsersAction) -> None:
    dub = commands.add_parser(
        "dub",
        help="generate the soundtrack of a film",
        description="Generates the soundtrack of a film. The video stream is copied unchanged.",
        epilog="examples:\n"
        '  dualdub dub film.mp4 --script "lay blue at e nine soon" --voice voice.wav\n'
        "  dualdub dub film.mkv --script film.srt -o dubbed.mkv --stems stems --receipt receipt.json\n"
        "  dualdub dub film.mp4 --script film.vtt --voices MARY=mary.wav 'OLD MAN=man.wav' --strict\n"
        "  dualdub dub film.mp4 --no-speech --seed 7\n"
        "  dualdub dub film.mp4 --script film.srt --lufs -23 --duck 9 --keep-original music.wav=-12dB\n"
        "  dualdub dub film.mkv --script film.srt -o out.mkv --subtitles --language en --audio-tracks "
        "mix,speech,background\n"
        "  dualdub dub film.mp4 --script film.srt --project film.dub --takes 3 --resume\n"
        "  dualdub dub --project film.dub --retake cue:7 --seed 3 -o dubbed.mp4\n"
        "  dualdub dub --manifest films.jsonl --out dubbed\n"
        "docs/dubbing.md explains projects, takes and retakes.",
    )
    add = dub.add_argument
    add("video", type=local, nargs="?", metavar="VIDEO", help="the film: any container, size and frame rate; "
        "may be left out with a --project that is there already")  # fmt: skip
    add("--script", default="", metavar="TEXT|FILE", help="the words to speak, or a text or subtitle file")
    add("--voice", type=local, metavar="FILE", help="a recording of the reference voice")
    add(
        "--voices",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="the voice of each speaker in the script, or a JSON file of them; --voice is then that of words "
        "without a speaker",
    )
    add(
        "--max-rate",
        type=within(float, 1, math.inf),
        default=MAX_RATE / COMFORTABLE_RATE,
        metavar="X",
        help=f"refuse cues that need speech faster than X times the comfortable {COMFORTABLE_RATE} letters a "
        f"second (default: {MAX_RATE / COMFORTABLE_RATE:.2f})",
    )
    add("--strict", action="store_true", help="refuse all cues that need more than the comfortable rate")
    add(
        "--rt60",
        type=real,
        metavar="S",
        help="reverberation time of both tracks, 0.05 to 3.2 s (default: sampled for each scene)",
    )
    add(
        "--noise",
        type=real,
        metavar="DBFS",
        help="noise floor of both tracks, -80 to -20 dBFS (default: sampled for each scene)",
    )
    add_model(dub)
    add(
        "--decoder",
        choices=("checkpoint", "codec"),
        default="checkpoint",
        help="waveform decoders: those of the checkpoint (default), or the codecs' own",
    )
    add("-o", "--output", type=local, metavar="FILE", help=_OUTPUT_HELP)
    add("--stems", type=local, metavar="DIR", help="folder for speech.wav, background.wav, mix.wav and, with "
        "--keep-original, original.wav")  # fmt: skip
    add(
        "--receipt",
        type=local,
        metavar="FILE",
        help="JSON with everything needed to reproduce the result",
    )
    add("--report", type=local, metavar="FILE", help="HTML page with pictures and players")
    add(
        "--project",
        type=local,
        metavar="DIR",
        help="keep the project (plan, tokens, tracks) there; without VIDEO, the one that is there",
    )
    add("--resume", action="store_true", help="continue the --project, if it was begun and interrupted")
    add(
        "--takes",
        type=count,
        default=1,
        metavar="N",
        help="generate N variants, with the seeds SEED, SEED + 1, …; the best is delivered, the --project "
        "keeps all",
    )
    add("--take", type=count, metavar="K", help="deliver another take of the --project")
    add(
        "--retake",
        metavar="A-B|cue:N",
        help="generate the seconds A to B, or cue N, of the --project anew; all samples elsewhere stay as "
        "they are",
    )
    add("--no-speech", action="store_true", help="leave the speech track silent")
    add("--no-background", action="store_true", help="leave the background track silent")
    add("--allow-overrun", action="store_true", help="cut cues off at the end of the video")
    add(
        "--allow-inaudible", action="store_true", help="write files although nothing of the script is audible"
    )
    add("--seed", type=seed, metavar="N",
        help="of the sampling (default: 0; of a retake: the first one that no take has)")  # fmt: skip
    _add_mix(dub.add_argument_group("mix and delivery (docs/mix.md)"))
    _add_many(dub)
    sampling = dub.add_argument_group("sampling (defaults: the checkpoint's)")
    for field in dataclasses.fields(SamplingConfig):
        sampling.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_sampling_value(field.name, field.type),
            metavar="N" if field.type is int else "X",
            help=_SAMPLING_HELP[field.name.removeprefix("speech_").removeprefix("background_")],
        )
    dub.set_defaults(command="dub")


def _add_mix(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--lufs", type=real, metavar="LUFS", help=_LUFS_HELP)
    add("--true-peak", type=real, metavar="DBTP", help="highest true peak of the mix (with --lufs: -1)")
    add("--duck", type=real, default=0.0, metavar="DB", help=_DUCK_HELP)
    add("--keep-original", action="append", default=[], metavar="FILE=GAIN", help=_KEEP_ORIGINAL_HELP)
    add("--stem-rate", type=within(int, 8_000, 192_000), metavar="HZ", help=_STEM_RATE_HELP)
    add("--audio-tracks", type=names, default=("mix",), metavar="A,B", help=_AUDIO_TRACKS_HELP)
    add("--language", metavar="CODE", help="language of the speech for players' menus: en, deu, pt-BR")
    add("--subtitles", nargs="?", action="append", const=True, metavar="FILE", help=_SUBTITLES_HELP)


_LUFS_HELP = "integrated loudness of the mix, such as -23 or -16 (default: no target)"
_DUCK_HELP = "lower all but the speech by DB while somebody speaks (default: 0)"
_KEEP_ORIGINAL_HELP = (
    "mix in a sound file with a gain, as music.wav=-12dB; film=-12dB: the film's own sound; may be repeated"
)
_STEM_RATE_HELP = "sample rate of the files in --stems, such as 48000 (default: that of the mix)"
_AUDIO_TRACKS_HELP = "audio tracks of the film: mix, speech, background, original (default: mix)"
_SUBTITLES_HELP = (
    "add a subtitle track of what is spoken; with FILE (.srt, .vtt, .ass): write it there; may be given twice"
)


def _add_many(dub: argparse.ArgumentParser) -> None:
    many = dub.add_argument_group(
        "many films (docs/dubbing.md)",
        "The other options are then defaults for all lines of the manifest. Outputs are relative to the "
        "folder, and {name} in them stands for the name of a film: --stems 'stems/{name}'.",
    )
    many.add_argument(
        "--manifest",
        type=local,
        metavar="FILE",
        help='a line a film, .jsonl, .csv or .tsv: {"video": …, "script": …, "voice": …}',
    )
    many.add_argument(
        "--out", type=local, metavar="DIR", help="folder for the films, and for the record of the run"
    )
    many.add_argument(
        "--batch-size",
        type=count,
        metavar="N",
        help="windows of different films that a device generates at once (default: 1 on CPUs, 8 elsewhere)",
    )
    many.add_argument(
        "--part", metavar="I/N", help="only every N-th line from the I-th, for N processes at once"
    )


_OUTPUT_HELP = (
    "the dubbed film: .mp4, .m4v, .mov, .mkv or .webm (default: VIDEO.soundtrack.mp4 beside VIDEO, "
    "without its suffix)"
)
_SAMPLING_HELP = {
    "temperature": "0: the likeliest token; higher is more varied",
    "top_k": "sample from the N likeliest tokens; 0: from all",
    "top_p": "sample from the likeliest tokens that sum to this probability; 1: from all",
    "guidance_scale": "scale of classifier-free guidance on video, script and voice; 1: none",
    "guidance_codebooks": "guide the first N codebooks of each frame only; 0: all",
}


def voices_of(items: Sequence[str]) -> Mapping[str, str] | str:
    """The values of `--voices` as a request takes them: recordings by name, or the path of a JSON file.

    Raises:
        UserError: neither, or a name twice.
    """
    if len(items) == 1 and "=" not in items[0]:
        return items[0]
    voices: dict[str, str] = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not separator:
            raise UserError(
                f"--voices: expected NAME=FILE or one JSON file, got {item!r} among others; "
                "the film stands before the options"
            )
        if name in voices:
            raise UserError(f"--voices: {name} has two voices, {voices[name]} and {path}; give it one")
        voices[name] = path.strip()
    return voices


def _sampling_value(name: str, kind: type) -> Callable[[str], float]:
    return within(kind, *SAMPLING_RANGES.get(name, (0, math.inf)))
