"""Stems out of a mix: by a spectral gate, by audio-separator (a stand-in has its interface), and -40 dB."""

import pathlib
import sys
import types
from typing import Any

import numpy as np
import pytest
import soundfile

from dualdub_jax.data_pipeline import record
from dualdub_jax.data_pipeline.build import build
from dualdub_jax.data_pipeline.builders.clips.separators import SpectralGate
from dualdub_jax.data_pipeline.builders.clips.sound import Sound
from dualdub_jax.errors import UserError
from tests.data_pipeline.builders.corpora import build_one, clips_of, failures_of, write_sound
from tests.films import make_film


def _level_db(samples: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-10)


def test_a_gate_divides_bursts_from_a_hum() -> None:
    times_s = np.arange(32_000) / 16_000
    hum = 0.05 * np.sin(2 * np.pi * 125 * times_s)
    bursts = 0.4 * np.sin(2 * np.pi * 1000 * times_s) * (np.sin(2 * np.pi * times_s) > 0.9)
    mix = (hum + bursts).astype(np.float32)
    stems = SpectralGate().separate(Sound(mix, 16_000))
    np.testing.assert_allclose(stems.speech + stems.background, mix, atol=1e-6)
    assert _level_db(stems.speech - bursts) < _level_db(bursts) - 10
    assert _level_db(stems.background - hum) < _level_db(hum) + 3


def level_of(number: int) -> float:
    """The level of a stem of the stand-in."""
    return 0.5 * 10 ** (-number / 4)


class FakePackage:
    """The interface of audio-separator 0.47: stems are files named by their kind, stereo at 44.1 kHz."""

    stems: tuple[str, ...] = ("Vocals", "Instrumental")

    def __init__(self, **options: Any) -> None:
        self._options = options

    def load_model(self, model_filename: str) -> None:
        self._model = model_filename
        assert pathlib.Path(self._options["model_file_dir"], model_filename).is_file()

    def separate(self, path: str) -> list[str]:
        samples, rate_hz = soundfile.read(path)
        names = []
        for number, stem in enumerate(self.stems, start=1):
            name = f"mix_({stem})_{pathlib.Path(self._model).stem}.wav"
            length = round(len(samples) * 44_100 / rate_hz)
            sine = level_of(number) * np.sin(2 * np.pi * 400 * np.arange(length) / 44_100)
            soundfile.write(
                pathlib.Path(self._options["output_dir"], name), np.stack([sine, sine], 1), 44_100
            )
            names.append(name)
        return names


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[FakePackage]:
    module = types.ModuleType("audio_separator.separator")
    module.Separator = type("Separator", (FakePackage,), {})
    parent = types.ModuleType("audio_separator")
    parent.__spec__ = types.SimpleNamespace(name="audio_separator")
    monkeypatch.setitem(sys.modules, "audio_separator", parent)
    monkeypatch.setitem(sys.modules, "audio_separator.separator", module)
    return module.Separator


@pytest.mark.parametrize(
    "stems", [("Vocals", "Instrumental"), ("Drums", "Bass", "Other", "Vocals"), ("Vocals",)]
)
def test_audio_separator(tmp_path: pathlib.Path, package: type[FakePackage], stems: tuple[str, ...]) -> None:
    package.stems = stems
    films = tmp_path / "films"
    films.mkdir()
    make_film(films / "a.mp4", has_audio=True)
    model = tmp_path / f"{len(stems)}.ckpt"
    model.write_bytes(b"weights")
    options = {"source": films, "separate": "audio-separator", "separator_model": model}
    dataset, _ = build_one("folder", tmp_path / "out", **options)
    (clip,) = clips_of(dataset).values()
    speech, background = (
        record.decode_stem(clip[name], "x", clip["duration_s"], 44_100) for name in ("speech", "background")
    )
    own = level_of(stems.index("Vocals") + 1)
    assert _level_db(speech) == pytest.approx(_level_db(own * np.sin(np.arange(44_100))), abs=0.2)
    if len(stems) == 4:  # what is no speech is added up
        assert _level_db(background) == pytest.approx(
            20 * np.log10(sum(map(level_of, (1, 2, 3))) / 2**0.5), abs=0.2
        )
    assert not clip["has_script"]


def test_a_model_without_speech_is_named(tmp_path: pathlib.Path, package: type[FakePackage]) -> None:
    package.stems = ("Drums", "Bass")
    films = tmp_path / "films"
    films.mkdir()
    make_film(films / "a.mp4", has_audio=True)
    (tmp_path / "drums.ckpt").write_bytes(b"weights")
    options = {"source": films, "separate": "audio-separator", "separator_model": tmp_path / "drums.ckpt"}
    with pytest.raises(UserError, match="no item of the source gives a record"):
        build_one("folder", tmp_path / "out", **options)


def test_what_separation_needs_is_told_beforehand(tmp_path: pathlib.Path) -> None:
    write_sound(tmp_path / "a.wav")
    (tmp_path / "c.csv").write_text("audio\na.wav\n")
    model = tmp_path / "m.ckpt"
    options = {"source": tmp_path / "c.csv", "separate": "audio-separator", "separator_model": model}
    with pytest.raises(UserError, match=r"m.ckpt: no such file"):
        build("manifest", tmp_path / "out", **options)
    model.write_bytes(b"")
    with pytest.raises(UserError, match=r"pip install 'dualdub-jax\[separate\]'"):
        build("manifest", tmp_path / "out", **options)
    with pytest.raises(UserError, match="only goes with --separate audio-separator"):
        build("manifest", tmp_path / "out", **{**options, "separate": ""})


def test_pairs_with_a_quiet_stem_are_dropped_and_counted(tmp_path: pathlib.Path) -> None:
    for name, level in (("loud", 0.3), ("low", 0.02), ("quiet", 0.005)):
        write_sound(tmp_path / f"{name}.wav", level=level)
    (tmp_path / "c.csv").write_text(
        "id,speech,background\na,loud.wav,low.wav\nb,loud.wav,quiet.wav\nc,quiet.wav,loud.wav\nd,quiet.wav,\n"
    )
    dataset, printed = build_one("manifest", tmp_path / "out", source=tmp_path / "c.csv", min_stem_db=-40.0)
    assert list(clips_of(dataset)) == ["a", "d"]  # one stem is no pair
    assert dataset.metadata["dropped"] == {"background is below -40 dB": 1, "speech is below -40 dB": 1}
    assert failures_of(dataset)[0] == {
        "id": "b", "reason": "background is below -40 dB", "detail": "-49.0 dBFS", "stage": "level"
    }  # fmt: skip
    assert "background is below -40 dB 1" in printed
    kept, _ = build_one("manifest", tmp_path / "out", source=tmp_path / "c.csv", dataset="all")
    assert len(clips_of(kept)) == 4  # one's own stems have no limit unless one is given
