"""Edit lists: read as a player does, and ended without touching the media."""

from fractions import Fraction

import pytest

from dualdub_jax.media.mp4_boxes import Edit, end_edit_list, read_edit_list
from tests.films import make_film, read_film, trim


def test_edits_are_read(tmp_path):
    with make_film(tmp_path / "film.mp4", num_b_frames=2).open("rb") as file:
        edits = read_edit_list(file, 1)
        assert edits.edits == (Edit(Fraction(2), 1024),) and edits.shown_s == 2
        assert read_edit_list(file, 2) is None
    with make_film(tmp_path / "late.mp4", start=Fraction(1)).open("rb") as file:
        edits = read_edit_list(file, 1)
    assert [edit.media_time for edit in edits.edits] == [-1, 0] and edits.shown_s == 2


def test_fragments_and_other_files_have_none(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov"}
    for path in (make_film(tmp_path / "film.mp4", options=options), make_film(tmp_path / "film.mkv")):
        with path.open("rb") as file:
            edits = read_edit_list(file, 1)
            assert edits is None or edits.shown_s is None


def test_a_track_is_ended(tmp_path):
    path = make_film(tmp_path / "film.mp4", num_b_frames=2)
    size = path.stat().st_size
    with path.open("r+b") as file:
        end_edit_list(file, 1, Fraction(6, 5))
        assert read_edit_list(file, 1).shown_s == Fraction(6, 5)
        with pytest.raises(ValueError, match="track 7 has no edit list"):
            end_edit_list(file, 7, Fraction(1))
    film = read_film(path).film
    assert path.stat().st_size == size and film.duration_s == Fraction(6, 5) and film.num_pictures == 30


def test_damaged_boxes_are_no_crash(tmp_path):
    whole = make_film(tmp_path / "film.mp4", num_frames=15)
    data = trim(whole, tmp_path / "cut.mp4", Fraction(0), Fraction(1, 2)).read_bytes()
    for place in range(data.index(b"moov") - 4, data.index(b"elst") + 24, 3):
        for value in (0, 255):
            bad = bytearray(data)
            bad[place] = value
            path = tmp_path / "bad.mp4"
            path.write_bytes(bytes(bad))
            with path.open("rb") as file:
                read_edit_list(file, 1)
