"""`dualdub codec`: any sound through any codec, at exact length, and one line for what cannot be done."""

import json

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import soundfile

from dualdub_jax.apps.cli import main
from dualdub_jax.bundles.bundle import abstract_params, save_bundle
from dualdub_jax.codecs.windowed_encoding import encode_windows
from dualdub_jax.tools import codec as codec_tool
from dualdub_jax.tools.named_codec import load_codec
from dualdub_jax.tools.token_file import read_tokens
from tests.convert.ports import weights, write_torch_file
from tests.films import make_film
from tests.tiny import tiny_config, with_codec

RATE_HZ = 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Converted weights of a DAC with 3 codebooks of 16, 100 frames of 30 samples a second; two sounds."""
    folder = tmp_path_factory.mktemp("codec")
    for kind, settings in (("dac", {"sampling_rate": RATE_HZ}), ("clip", {"num_attention_heads": 3})):
        (folder / kind).mkdir()
        (folder / kind / "config.json").write_text(json.dumps(settings))
        write_torch_file(folder / kind / "x.pth", weights(kind))
        assert main(["convert", str(folder / kind / "x.pth"), str(folder / f"{kind}_weights")]) == 0
    rng = np.random.default_rng(0)
    soundfile.write(folder / "odd.flac", 0.3 * rng.uniform(-1, 1, (11_111, 2)), 22_050)
    soundfile.write(folder / "long.wav", 0.3 * rng.uniform(-1, 1, 70 * RATE_HZ + 13), RATE_HZ)
    return folder


def run(capsys, *arguments):
    """Runs `dualdub codec`; returns the status and both outputs."""
    status = main(["codec", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def fails(capsys, *arguments):
    """The one line of a command that must fail."""
    status, _, error = run(capsys, *arguments)
    assert status == 2 and error.count("\n") == 1 and "Traceback" not in error
    return error


def test_encode_then_decode_is_the_roundtrip_at_exact_length(folder, tmp_path, capsys):
    tokens, weights_of = tmp_path / "x.tokens", folder / "dac_weights"
    status, out, _ = run(capsys, "encode", folder / "odd.flac", "--codec", weights_of, "--out", tokens)
    assert status == 0
    assert "100 frames/s, 3 of 16 codes each: 300 tokens/s, 1200 bits/s" in out
    assert "x realtime" in out and f"wrote {tokens}" in out
    content = read_tokens(tokens)
    num_samples = content.num_samples
    assert abs(num_samples - 11_111 / 22_050 * RATE_HZ) <= 1
    assert content.tokens.shape == (-(-num_samples // 30), 3)
    assert run(capsys, "decode", tokens, "--out", tmp_path / "a.wav")[0] == 0
    args = (folder / "odd.flac", "--codec", weights_of, "--out", tmp_path / "b.flac")
    assert run(capsys, "roundtrip", *args)[0] == 0
    first, second = (soundfile.read(tmp_path / name) for name in ("a.wav", "b.flac"))
    assert first[1] == second[1] == RATE_HZ and len(first[0]) == num_samples
    np.testing.assert_array_equal(first[0], second[0])
    assert first[0].any()


def test_a_film_has_a_sound_too_and_fewer_codebooks_are_the_first(folder, tmp_path, capsys):
    film = make_film(tmp_path / "film.mp4", num_frames=20, has_audio=True)
    for name, extra in (("all", ()), ("two", ("--codebooks", "2"))):
        args = (film, "--codec", folder / "dac_weights", "--out", tmp_path / name, *extra)
        assert run(capsys, "encode", *args)[0] == 0
    every, two = (read_tokens(tmp_path / name).tokens for name in ("all", "two"))
    np.testing.assert_array_equal(every[:, :2], two)
    assert run(capsys, "decode", tmp_path / "two", "--out", tmp_path / "two.wav")[0] == 0


def test_long_sounds_are_the_same_in_windows_as_in_one_call(folder, tmp_path, capsys, monkeypatch):
    args = (folder / "long.wav", "--codec", folder / "dac_weights")
    assert run(capsys, "encode", *args, "--out", tmp_path / "x.tokens")[0] == 0
    content = read_tokens(tmp_path / "x.tokens")
    samples, _ = soundfile.read(folder / "long.wav", dtype="float32")
    assert content.num_samples == len(samples)
    codec = load_codec(str(folder / "dac_weights")).codec
    np.testing.assert_array_equal(content.tokens, np.asarray(codec.encode(samples[None]))[0])
    assert run(capsys, "decode", tmp_path / "x.tokens", "--out", tmp_path / "x.wav")[0] == 0
    decoded, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
    whole = np.clip(np.asarray(codec.decode(content.tokens[None]))[0, : len(samples)], -1, 1)
    np.testing.assert_allclose(decoded, whole, atol=1.1 / 32768)


def test_windows_hold_no_more_than_a_window(folder):
    codec = load_codec(str(folder / "dac_weights")).codec
    longest = 0

    class Watched:
        spec = codec.spec

        def encode(self, waveform, mask=None):
            nonlocal longest
            longest = max(longest, waveform.shape[1])
            return codec.encode(waveform, mask)

    blocks = np.random.default_rng(1).normal(size=(9, 1000)).astype(np.float32)
    parts = list(encode_windows(Watched(), blocks, window_s=1.0, before_s=0.3, after_s=0.2))
    assert longest == RATE_HZ and len(parts) > 3
    whole = np.asarray(codec.encode(blocks.reshape(1, -1)))[0]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not list(encode_windows(Watched(), []))
    with pytest.raises(ValueError, match=r"not longer than its contexts"):
        list(encode_windows(Watched(), blocks, window_s=1.0, before_s=0.8, after_s=0.2))


def test_a_bundles_codec_takes_the_speaker_from_the_sound_or_from_a_voice(folder, tmp_path, capsys):
    config = with_codec(tiny_config(), "speech", speaker_dim=4)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray(0.3 * rng.normal(size=x.shape), x.dtype), abstract_params(config)
    )
    save_bundle(tmp_path / "bundle", config, params, {})
    soundfile.write(tmp_path / "s.wav", 0.2 * np.sin(np.arange(8_001) / 9), 16_000)
    soundfile.write(tmp_path / "v.wav", 0.2 * rng.normal(size=16_000), 16_000)
    common = (tmp_path / "s.wav", "--codec", f"{tmp_path / 'bundle'}:speech", "--out")
    assert run(capsys, "roundtrip", *common, tmp_path / "a.wav")[0] == 0
    voice = ("--voice", tmp_path / "v.wav")
    assert run(capsys, "roundtrip", *common, tmp_path / "b.wav", *voice)[0] == 0
    assert run(capsys, "encode", *common, tmp_path / "s.tokens")[0] == 0
    args = (tmp_path / "s.tokens", "--out", tmp_path / "c.wav", *voice)
    assert run(capsys, "decode", *args)[0] == 0
    a, b, c = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in "abc")
    assert len(a) == len(b) == 8_001 and np.abs(a - b).max() > 1e-3
    np.testing.assert_array_equal(b, c)
    error = fails(
        capsys, "roundtrip", tmp_path / "s.wav", "--codec", folder / "dac_weights", "--voice",
        tmp_path / "v.wav", "--out", tmp_path / "d.wav",
    )  # fmt: skip
    assert "no speaker condition" in error and not (tmp_path / "d.wav").exists()


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("nowhere", "no folder of dualdub convert and no bundle"),
        ("default", "a bundle has a codec for each stream; say --codec default:speech"),
        ("default:music", "no folder of dualdub convert"),
        ("{dac}:speech", "holds one codec"),
        ("{clip}", "which is not a codec"),
        ("default:background --codebooks 1", "only converted weights are used in part"),
        ("{dac} --codebooks 4", "has 3; set 1 to 3"),
    ],
)
def test_codecs_that_are_none_are_named(folder, tmp_path, capsys, codec, said):
    codec = codec.format(dac=folder / "dac_weights", clip=folder / "clip_weights").split()
    args = ("encode", folder / "odd.flac", "--out", tmp_path / "x.tokens", "--codec", *codec)
    assert said in fails(capsys, *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncated", "cannot be read as a file of tokens"),
        ("a sound", "cannot be read as a file of tokens"),
        ("range", "token 16 of frame 2 is out of range, the codec has 0 to 15"),
        ("negative", "token -1 of frame 2 is out of range"),
        ("other codec", "its tokens are of another codec"),
        ("too short", "are no sound of"),
        ("float", "expected int32"),
        ("bare", "holds no tokens of `dualdub codec encode`"),
        ("missing", "no such file"),
    ],
)
def test_tokens_that_cannot_be_decoded_are_named(folder, tmp_path, capsys, damage, said):
    path = tmp_path / "x.tokens"
    args = ("encode", folder / "odd.flac", "--codec", folder / "dac_weights", "--out", path)
    assert run(capsys, *args)[0] == 0
    tokens = safetensors.numpy.load_file(path)["tokens"]
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "a sound":
        path.write_bytes((folder / "odd.flac").read_bytes())
    elif damage == "missing":
        path.unlink()
    else:
        tokens[2, 1] = {"range": 16, "negative": -1}.get(damage, 0)
        tokens = {"too short": tokens[:-1], "float": tokens.astype(np.float32)}.get(damage, tokens)
        metadata |= {"fingerprint": "0" * 16} if damage == "other codec" else {}
        safetensors.numpy.save_file(
            {"tokens": np.ascontiguousarray(tokens)}, path, {} if damage == "bare" else metadata
        )
    assert said in fails(capsys, "decode", path, "--out", tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()


def test_inputs_and_outputs_that_cannot_be_used_are_named(folder, tmp_path, capsys):
    dac, sound = folder / "dac_weights", folder / "odd.flac"
    film = make_film(tmp_path / "silent.mp4", num_frames=3)
    assert "no sound in it" in fails(capsys, "encode", film, "--codec", dac, "--out", tmp_path / "x")
    error = fails(capsys, "roundtrip", sound, "--codec", dac, "--out", tmp_path / "x.mp3")
    assert "ends with .wav or .flac" in error
    error = fails(capsys, "roundtrip", sound, "--codec", dac, "--out", tmp_path / "no" / "x.wav")
    assert "there is no folder" in error
    assert "would be overwritten" in fails(capsys, "encode", sound, "--codec", dac, "--out", sound)
    soundfile.write(tmp_path / "nan.wav", np.full(2000, np.nan), RATE_HZ, subtype="FLOAT")
    error = fails(capsys, "encode", tmp_path / "nan.wav", "--codec", dac, "--out", tmp_path / "x")
    assert "not numbers" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nan.wav", "silent.mp4"]


def test_a_codec_that_moved_is_given_anew(folder, tmp_path, capsys):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    for file in (folder / "dac_weights").iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    args = ("encode", folder / "odd.flac", "--codec", there, "--out", tmp_path / "x.tokens")
    assert run(capsys, *args)[0] == 0
    there.rename(here)
    assert "no folder of dualdub convert" in fails(
        capsys, "decode", tmp_path / "x.tokens", "--out", tmp_path / "x.wav"
    )
    args = ("decode", tmp_path / "x.tokens", "--codec", here, "--out", tmp_path / "x.wav")
    assert run(capsys, *args)[0] == 0


def test_samples_beyond_full_scale_are_counted(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(codec_tool, "decode_track", lambda *_: iter([np.array([0.5, 1.5, -2.0], np.float32)]))
    args = (folder / "odd.flac", "--codec", folder / "dac_weights", "--out", tmp_path / "x.wav")
    status, _, error = run(capsys, "roundtrip", *args)
    assert status == 0 and "2 samples beyond full scale were clipped" in error
