"""The film with new sound: same packets, sound where it belongs, containers that cannot are refused."""

import io
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.media.film import FilmReader
from dualdub_jax.media.mux import mux_soundtrack
from dualdub_jax.media.new_tracks import AudioTrack, NewTracks
from dualdub_jax.media.rehearsal import check_container
from tests.films import damage_last_packets, decode_audio, make_film, read_film, video_packets
from tests.media.test_film import real_film

CLICK_S = 0.25


def silence(num_samples: int) -> NewTracks:
    return NewTracks([AudioTrack(np.zeros(num_samples, np.float32), 16_000)])


def write(source: pathlib.Path, out: pathlib.Path):
    film = read_film(source)
    mix = np.zeros(film.num_samples, np.float32)
    click = round(CLICK_S * 16_000)
    mix[click : click + 160] = 0.5
    with out.open("w+b") as file:
        mux_soundtrack(film.film, NewTracks([AudioTrack(mix, 16_000)]), out, file)
    return film


@pytest.mark.parametrize("out", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("sound.mp4", {"has_audio": True}),
        ("b_frames_late.mp4", {"num_b_frames": 2, "start": Fraction(3)}),
        ("film.mkv", {"num_b_frames": 2, "rate": Fraction(24000, 1001)}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("turned.mp4", {"rotation": 90}),
    ],
)
def test_packets_are_copied_and_sound_is_in_time(tmp_path, name, options, out):
    source, out = make_film(tmp_path / name, **options), tmp_path / out
    film = write(source, out)
    assert video_packets(out) == video_packets(source)
    copy = read_film(out)
    assert copy.film.start_pts == 0
    assert abs(copy.film.duration_s - film.film.duration_s) <= Fraction(1, 1000)
    assert copy.film.size == film.film.size
    assert np.abs(copy.frames.astype(int) - film.frames).mean() < 4
    samples, rate_hz, first_s = decode_audio(out)
    heard_s = first_s + np.argmax(np.abs(samples) > 0.1) / rate_hz
    assert abs(heard_s - CLICK_S) < 0.002
    assert 0 <= len(samples) / rate_hz - float(film.film.duration_s) < 0.1  # AAC comes in blocks


def test_webm(tmp_path):
    source = make_film(tmp_path / "film.webm", codec="libvpx-vp9", num_frames=20)
    out = tmp_path / "out.webm"
    write(source, out)
    assert video_packets(out) == video_packets(source)
    samples, rate_hz, first_s = decode_audio(out)
    assert abs(first_s + np.argmax(np.abs(samples) > 0.1) / rate_hz - CLICK_S) < 0.002


def test_transport_streams_lose_only_their_start(tmp_path):
    source = make_film(tmp_path / "film.ts", num_b_frames=2, has_audio=True)
    film = write(source, tmp_path / "out.mp4")
    copy = read_film(tmp_path / "out.mp4")
    assert film.film.start_pts > 0 and copy.film.start_pts == 0
    np.testing.assert_array_equal(copy.frames, film.frames)


def test_hidden_first_pictures_stay_hidden(tmp_path):
    source = make_film(tmp_path / "e.mp4", start=Fraction(-1, 5), time_base=Fraction(1, 12_800))
    film = write(source, tmp_path / "out.mp4")
    copy = read_film(tmp_path / "out.mp4")
    assert copy.film.duration_s == film.film.duration_s
    np.testing.assert_array_equal(copy.frames, film.frames)


@pytest.mark.parametrize(("rate_hz", "out"), [(44_100, "out.webm"), (20_000, "out.mp4"), (22_050, "out.mkv")])
def test_rates_that_the_encoder_lacks_are_resampled(tmp_path, rate_hz, out):
    codec = "libvpx-vp9" if out == "out.webm" else "libx264"
    film = read_film(make_film(tmp_path / f"film{pathlib.Path(out).suffix}", codec=codec)).film
    time_s = np.arange(film.num_samples(rate_hz)) / rate_hz
    mix = (0.5 * np.sin(2 * np.pi * 300 * time_s) * (time_s > 1)).astype(np.float32)
    with (tmp_path / out).open("w+b") as file:
        mux_soundtrack(film, NewTracks([AudioTrack(mix, rate_hz)]), tmp_path / out, file)
    samples, heard_hz, first_s = decode_audio(tmp_path / out)
    assert heard_hz == {44_100: 48_000, 20_000: 22_050, 22_050: 22_050}[rate_hz]
    assert abs(first_s + np.argmax(np.abs(samples) > 0.1) / heard_hz - 1) < 0.01
    second = samples[-heard_hz // 2 : -heard_hz // 4]
    peak_hz = np.abs(np.fft.rfft(second)).argmax() * heard_hz / len(second)
    assert abs(peak_hz - 300) < 5


@pytest.mark.parametrize(("rate_hz", "out"), [(44_100, "out.mp4"), (44_100, "out.webm")])
def test_stereo_stays_stereo(tmp_path, rate_hz, out):
    codec = "libvpx-vp9" if out == "out.webm" else "libx264"
    film = read_film(make_film(tmp_path / f"film{pathlib.Path(out).suffix}", codec=codec)).film
    time_s = np.arange(film.num_samples(rate_hz)) / rate_hz
    mix = np.stack([0.5 * np.sin(2 * np.pi * hertz * time_s) for hertz in (300, 700)], axis=1)
    with (tmp_path / out).open("w+b") as file:
        mux_soundtrack(film, NewTracks([AudioTrack(mix.astype(np.float32), rate_hz)]), tmp_path / out, file)
    with av.open(str(tmp_path / out)) as copy:
        frames = [frame.to_ndarray() for frame in copy.decode(audio=0)]
        sound = copy.streams.audio[0]
        assert sound.layout.name == "stereo"
    sides = np.concatenate(frames, axis=1)[:, : sound.rate]
    peaks_hz = np.abs(np.fft.rfft(sides[:, -sound.rate // 2 :])).argmax(axis=1) * 2
    assert (np.abs(peaks_hz - [300, 700]) < 5).all()


def test_damaged_packets_are_copied_too(tmp_path):
    whole = make_film(tmp_path / "whole.mp4", noise=True)
    damaged = damage_last_packets(whole, tmp_path / "damaged.mp4", 4)
    write(damaged, tmp_path / "out.mp4")
    assert video_packets(tmp_path / "out.mp4") == video_packets(damaged)


def test_millisecond_times_do_not_shorten_the_film(tmp_path):
    source = make_film(tmp_path / "film.mkv", rate=24, num_frames=13)
    assert write(source, tmp_path / "out.mp4").film.duration_s == Fraction(13, 24)
    assert abs(read_film(tmp_path / "out.mp4").film.duration_s - Fraction(13, 24)) < Fraction(1, 16_000)


@pytest.mark.parametrize(
    ("name", "codec", "out", "message"),
    [
        (
            "a.mp4",
            "libx264",
            "out.webm",
            r"out.webm: WEBM cannot hold h264 video as it is in .*; try -o out.mp4",
        ),
        (
            "a.avi",
            "ffvhuff",
            "out.mp4",
            r"out.mp4: MP4 cannot hold ffvhuff video as it is in .*; convert the video to H.264 first",
        ),
        ("a.mov", "png", "out.webm", r"out.webm: WEBM cannot hold png video as it is in .*; try -o out.mov"),
        ("a.mp4", "libx264", "out.wav", r"out.wav: unknown kind of file; end the name in one of .mp4, "),
        ("a.mp4", "libx264", "out", r"out: unknown kind of file"),
        ("a.h264", "libx264", "out.mp4", r"a.h264: its packets have no times, so they cannot be copied; put"),
    ],
)
def test_what_a_container_cannot_hold(tmp_path, name, codec, out, message):
    path = make_film(tmp_path / name, codec=codec)
    with FilmReader(path) as reader, pytest.raises(UserError, match=message):
        check_container(reader.film, tmp_path / out)
    with pytest.raises(UserError, match=message):
        mux_soundtrack(reader.film, silence(16_000), tmp_path / out, io.BytesIO())
    assert not (tmp_path / out).exists()


class _FullDisk(io.BytesIO):
    def write(self, data):
        if self.tell() > 200_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_full_disk_is_an_error_of_the_disk():
    film = read_film(real_film())
    with pytest.raises(OSError) as error:
        mux_soundtrack(film.film, silence(film.num_samples), pathlib.Path("out.mp4"), _FullDisk())
    assert error.value.errno == 28


def test_real_film(tmp_path):
    write(real_film(), tmp_path / "out.mp4")
    assert video_packets(tmp_path / "out.mp4") == video_packets(real_film())
