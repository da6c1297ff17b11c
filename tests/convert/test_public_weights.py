"""`dualdub convert`: public checkpoints in the files that people have, recognised by their tensors."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from dualdub_jax.apps.cli import main
from dualdub_jax.checkpoints.converted import read_converted
from dualdub_jax.checkpoints.public_models import PUBLIC_MODELS
from dualdub_jax.codecs.wavtokenizer.codec import WavTokenizerCodec
from dualdub_jax.codecs.wavtokenizer.config import WavTokenizerConfig
from dualdub_jax.config import from_dict
from dualdub_jax.convert.public_weights import CONVERTERS, convert_public_weights
from dualdub_jax.encoders.base import FEATURE_EXTRACTORS
from dualdub_jax.errors import UserError
from tests.convert import ports
from tests.convert.ports import golden, weights, write_torch_file
from tests.golden.make_metrics_golden import WAVLM

SETTINGS = ports.SETTINGS | {
    "cnn14": {},
    "vggish": {},
    "utmos": {"num_attention_heads": 3},
    "wavlm_sv": WAVLM,
}
GOLDEN = {"cnn14": "cnn14_16000"}  # kinds whose golden run has another name


def folder_of(kind, path, num_files=1):
    """A folder as Hugging Face writes it."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(SETTINGS[kind]))
    state = {name: np.ascontiguousarray(x) for name, x in weights(GOLDEN.get(kind, kind)).items()}
    names = [list(state)[i::num_files] for i in range(num_files)]
    if num_files == 1:
        safetensors.numpy.save_file(state, path / "model.safetensors")
        return path
    index = {}
    for i, some in enumerate(names):
        file = f"model-{i + 1:05}-of-{num_files:05}.safetensors"
        safetensors.numpy.save_file({name: state[name] for name in some}, path / file)
        index |= dict.fromkeys(some, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return path


@pytest.mark.parametrize("kind", CONVERTERS)
def test_folders_and_torch_files_give_the_same_weights(kind, tmp_path):
    assert convert_public_weights(folder_of(kind, tmp_path / "hub", num_files=3), tmp_path / "a").kind == kind
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "config.json").write_text(json.dumps(SETTINGS[kind]))
    write_torch_file(
        tmp_path / "file" / "x.ckpt", {"state_dict": weights(GOLDEN.get(kind, kind)), "epoch": 3}
    )
    assert convert_public_weights(tmp_path / "file" / "x.ckpt", tmp_path / "b").kind == kind
    (sizes_a, a), (sizes_b, b) = (read_converted(tmp_path / name, kind) for name in "ab")
    assert sizes_a == sizes_b
    assert a.keys() == b.keys()
    assert json.loads((tmp_path / "b" / "config.json").read_text())["converted_from"] == "x.ckpt"


def test_a_config_names_the_converted_codec(tmp_path):
    convert_public_weights(folder_of("wavtokenizer", tmp_path / "hub"), tmp_path / "out")
    sizes, _ = read_converted(tmp_path / "out", "wavtokenizer")
    config = from_dict({**sizes, "path": str(tmp_path / "out")}, WavTokenizerConfig, "codec")
    codec = WavTokenizerCodec(config, WavTokenizerCodec.pretrained(config))
    codes = codec.encode(golden("wavtokenizer", "waveform"))
    np.testing.assert_array_equal(codes[..., 0], golden("wavtokenizer", "codes"))
    other = from_dict({**sizes, "path": str(tmp_path / "out"), "num_filters": 7}, WavTokenizerConfig, "codec")
    with pytest.raises(UserError, match=r"other sizes than the config; set codec.num_filters=4"):
        WavTokenizerCodec.pretrained(other)


def test_a_config_names_the_converted_image_tower(tmp_path):
    convert_public_weights(folder_of("clip", tmp_path / "hub"), tmp_path / "out")
    extractor = FEATURE_EXTRACTORS.make(f"clip(path={str(tmp_path / 'out')!r}, frame_rate_hz=10)")
    assert (extractor.dim, extractor.frame_spec.frame_size, extractor.frame_spec.frame_rate) == (20, 24, 10)
    images = golden("clip", "images")
    np.testing.assert_allclose(extractor.extract(images), golden("clip", "embedding"), atol=1e-4)
    many = extractor.extract(np.concatenate([images] * 12))
    np.testing.assert_allclose(many[-3:], golden("clip", "embedding"), atol=1e-4)
    token = FEATURE_EXTRACTORS.make(f"clip(path={str(tmp_path / 'out')!r}, vector='token')")
    assert token.dim == 36 and token.fingerprint != extractor.fingerprint
    with pytest.raises(UserError, match=r"expected 'projected' or 'token'"):
        FEATURE_EXTRACTORS.make("clip(vector='mean')")
    with pytest.raises(UserError, match=r"heads is not a size of it"):
        FEATURE_EXTRACTORS.make("clip(heads=3)")


def test_absent_weights_are_named_with_their_page_and_the_command():
    with pytest.raises(UserError) as error:
        WavTokenizerCodec.pretrained(WavTokenizerConfig())
    assert PUBLIC_MODELS["wavtokenizer"].page in str(error.value)
    assert "MIT" in str(error.value) and "dualdub convert" in str(error.value)
    with pytest.raises(UserError, match=r"no such folder; get CLIP"):
        FEATURE_EXTRACTORS.make("clip(path='/nowhere')")


def test_what_cannot_be_converted_is_named_and_nothing_is_written(tmp_path):
    hub, out = folder_of("dac", tmp_path / "hub", num_files=2), tmp_path / "out"
    with pytest.raises(UserError, match=r"of none of wavtokenizer, dac"):
        write_torch_file(tmp_path / "other.pt", {"a.weight": np.ones((2, 2), np.float32)})
        convert_public_weights(tmp_path / "other.pt", out)
    with pytest.raises(UserError, match=r"no such file"):
        convert_public_weights(tmp_path / "none.ckpt", out)
    file = hub / "model-00002-of-00002.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-40])
    with pytest.raises(UserError, match=r"model-00002-of-00002.safetensors"):
        convert_public_weights(hub, out)
    file.unlink()
    with pytest.raises(
        UserError, match=r"model-00002-of-00002.safetensors of model.safetensors.index.json missing"
    ):
        convert_public_weights(hub, out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"none of model.safetensors"):
        convert_public_weights(tmp_path / "empty", out)
    assert not out.exists()
    out.mkdir()
    (out / "mine").touch()
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"already exists"):
        convert_public_weights(hub, out)
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_folders_of_other_kinds_or_damaged_ones_are_named(tmp_path):
    convert_public_weights(folder_of("dac", tmp_path / "hub"), tmp_path / "out")
    with pytest.raises(UserError, match=r"holds 'dac' in format 1, expected 'clip'"):
        read_converted(tmp_path / "out", "clip")
    file = tmp_path / "out" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"cannot be read"):
        read_converted(tmp_path / "out", "dac")


def test_the_command(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS["clip"]))
    write_torch_file(tmp_path / "x.ckpt", weights("clip") | {"text_model.norm": np.ones(3, np.float32)})
    assert main(["convert", str(tmp_path / "x.ckpt"), str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "CLIP ViT-B/32" in out and "tensors are not needed (text_model" in out and "wrote" in out
    assert main(["convert", str(tmp_path / "x.ckpt"), str(tmp_path / "out")]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["convert", "https://example.com/x.ckpt", str(tmp_path / "new")]) == 2
    assert "local" in capsys.readouterr().err


def test_the_page_lists_every_model():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    assert PUBLIC_MODELS.keys() == CONVERTERS.keys()
    for kind, model in PUBLIC_MODELS.items():
        commercial = "yes" if model.is_commercial else "no"
        assert f"| `{kind}` | {model.title} | {model.page} | {model.licence} | {commercial} |" in page
