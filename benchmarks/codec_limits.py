"""Localises the speech codec's loss of intelligibility and speaker identity: mels, tokens or vocoder.

    pip install 'dualdub-jax[eval]'
    python benchmarks/codec_limits.py                             # the bundled checkpoint, data/
    python benchmarks/codec_limits.py --checkpoint runs/puppet/bundle --num-clips 40
    python benchmarks/codec_limits.py --codec weights/wavtokenizer  # any codec, as `dualdub codec` names it

Test clips are scored by Whisper tiny.en (word error rate) and a speaker encoder (cosine to the reference) in
these versions: true audio; Griffin-Lim from true log-mels of several window sizes, roughly the bound for a
codec on such mels; and the codec. Of a mel-RVQ codec also: Griffin-Lim from decoded log-mels, with a part
replaced by the truth (band means, or half of the bands), and its vocoder from true log-mels. The last line is
the table as JSON.
"""

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from codec_quality import VOICE_S, at_listeners_rate, pad_stems

from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.codecs.base import Codec, CodecSpec
from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.codecs.mel_rvq.vocoder import synthesize
from dualdub_jax.data_pipeline.builders.puppet_stage import sentences
from dualdub_jax.data_pipeline.mixture import open_dataset
from dualdub_jax.data_pipeline.record import decode_stem
from dualdub_jax.data_pipeline.reference_voice import decode_voice
from dualdub_jax.dsp.griffin_lim import griffin_lim
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.analysis.text_normaliser import normalise
from dualdub_jax.evaluation.analysis.word_errors import word_errors
from dualdub_jax.evaluation.listeners.d_vector import d_vector
from dualdub_jax.evaluation.metrics.open_asr import OpenASR, transcript
from dualdub_jax.evaluation.metrics.speaker import Speaker
from dualdub_jax.tools.named_codec import load_codec

_MELS = ((1024, 320, 80), (640, 160, 80), (512, 160, 64))  # (n_fft, hop_length, n_mels)


@dataclasses.dataclass(frozen=True)
class Clips:
    """Clips with speech, padded to one length.

    Attributes:
        waveform: float32[B, T * samples_per_frame].
        mask: bool[B, T], True inside each clip.
        voice: float32[B, R * samples_per_frame], reference recordings.
        voice_mask: bool[B, R].
        texts: normalised scripts.
    """

    waveform: np.ndarray
    mask: np.ndarray
    voice: np.ndarray
    voice_mask: np.ndarray
    texts: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default=str(default_bundle_path()), help="a bundle's folder")
    parser.add_argument("--codec", help="in place of the checkpoint's speech codec")
    parser.add_argument("--data-dir", default="data", help="folder of built datasets")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--split", default="test_seen")
    parser.add_argument("--num-clips", type=int, default=40)
    parser.add_argument("--sentences", choices=("all", "grid", "free"), default="all", help="kind of script")
    args = parser.parse_args()
    for requirement in (*Speaker.requirements, *OpenASR.requirements):
        if absent := requirement.missing():
            print(absent, file=sys.stderr)
            return 2
    try:
        codec = load_codec(args.codec or f"{args.checkpoint}:speech").codec
        records = open_dataset(args.data_dir, args.source, args.split)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    clips = read_clips(records, codec.spec, args.num_clips, args.sentences)
    figures = {}
    for name, waveform in make_tracks(codec, clips).items():
        figures[name] = score(waveform, clips, codec.spec)
        print(
            "{:50s} voice {voice:.3f}   WER {wer_open:5.1f}%".format(name, **figures[name]),
            flush=True,
        )
    print(json.dumps(figures))
    return 0


def read_clips(records, spec: CodecSpec, num_clips: int, kind: str = "all") -> Clips:
    """Reads the first clips with a script of the given kind and a reference voice."""
    stems, voices, texts = [], [], []
    for i in range(len(records)):
        record = records[i]
        script = bytes(record["script"]).decode()
        is_kind = kind == "all" or sentences.is_grid(script) == (kind == "grid")
        if len(stems) < num_clips and script and record["voice"] and is_kind:
            stem = decode_stem(record["speech"], str(i), float(record["duration_s"]), spec.sample_rate_hz)
            stems.append(stem[: len(stem) // spec.samples_per_frame * spec.samples_per_frame])
            sizes = spec.samples_per_frame, int(VOICE_S * spec.frame_rate)
            voices.append(decode_voice(record["voice"], str(i), spec.sample_rate_hz, *sizes))
            texts.append(normalise(script))
    return Clips(*pad_stems(stems, voices, spec), texts)


def make_tracks(codec: Codec, clips: Clips) -> dict[str, np.ndarray]:
    """Resynthesises the clips' speech in every version: name -> float32[B, S]."""
    spec = codec.spec
    tokens = codec.encode(clips.waveform, clips.mask)
    reference = None
    if "speaker" in spec.decode_conditions:
        reference = codec.encode_speaker(clips.voice, clips.voice_mask)

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def rebuild(mel: jax.Array, n_fft: int, hop_length: int) -> jax.Array:
        return griffin_lim(
            mel,
            rng=jax.random.key(0),
            sample_rate_hz=spec.sample_rate_hz,
            n_fft=n_fft,
            hop_length=hop_length,
        )

    tracks = {"true": clips.waveform}
    for n_fft, hop_length, n_mels in _MELS:
        whole = np.pad(clips.waveform, ((0, 0), (0, -clips.waveform.shape[1] % hop_length)))
        mel = log_mel(whole, spec.sample_rate_hz, n_fft, hop_length, n_mels)
        name = f"true mels ({n_fft}, {hop_length}, {n_mels}), Griffin-Lim"
        tracks[name] = rebuild(mel, n_fft, hop_length)
    name = "the codec"
    if isinstance(codec, MelRVQCodec):
        tracks |= _mel_tracks(codec, clips, tokens, reference, rebuild)
        name = "decoded mels, our vocoder (the codec)"
    conditions = {} if reference is None else {"speaker": reference}
    tracks[name] = codec.decode(tokens, clips.mask, conditions)
    return {name: np.asarray(waveform) for name, waveform in tracks.items()}


def _mel_tracks(
    codec: MelRVQCodec,
    clips: Clips,
    tokens: jax.Array,
    reference: jax.Array | None,
    rebuild: Callable[[jax.Array, int, int], jax.Array],
) -> dict[str, jax.Array]:
    """The versions between mels, tokens and vocoder of a mel-RVQ codec."""
    config, modules, tracks = codec.config, codec.modules, {}
    decoded, hidden = jax.jit(modules.decode_tokens)(codec.variables, tokens, clips.mask, reference)
    mel_mask = jnp.repeat(clips.mask, modules.mel_per_frame, axis=1)

    @jax.jit
    def vocode(mel: jax.Array) -> jax.Array:
        frames = modules.vocoder.apply({"params": codec.variables["vocoder"]}, mel, hidden, mel_mask)
        phase = jnp.zeros(len(clips.mask))
        return synthesize(frames, mel_mask, config, jnp.int32(0), phase)[0]

    true, half, count = modules.log_mel(clips.waveform), config.n_mels // 2, mel_mask.sum(1)[:, None, None]
    mean_error = jnp.where(mel_mask[..., None], true - decoded, 0).sum(1, keepdims=True) / count
    for name, mel in {
        "decoded mels": decoded,
        "decoded mels with true means": decoded + mean_error,
        "decoded mels, true in the upper half": jnp.concatenate([decoded[..., :half], true[..., half:]], -1),
        "decoded mels, true in the lower half": jnp.concatenate([true[..., :half], decoded[..., half:]], -1),
    }.items():
        tracks[f"{name}, Griffin-Lim"] = rebuild(mel, config.n_fft, config.hop_length)
    tracks["true mels, our vocoder"] = vocode(true)
    return tracks


def score(waveform: np.ndarray, clips: Clips, spec: CodecSpec) -> dict[str, float]:
    """Mean cosine of d-vectors to the reference, and Whisper's word error rate in per cent."""
    cosines, errors = [], np.zeros(2)
    for i, text in enumerate(clips.texts):
        hop, rate = spec.samples_per_frame, spec.sample_rate_hz
        speech = at_listeners_rate(waveform[i, : clips.mask[i].sum() * hop], rate)
        voice = at_listeners_rate(clips.voice[i, : clips.voice_mask[i].sum() * hop], rate)
        speaker, reference = d_vector(speech), d_vector(voice)
        cosines.append(0.0 if speaker is None else float(speaker @ reference))
        errors += word_errors(text, normalise(transcript(speech)))
    return {"voice": float(np.mean(cosines)), "wer_open": float(100 * errors[0] / errors[1])}


if __name__ == "__main__":
    sys.exit(main())
