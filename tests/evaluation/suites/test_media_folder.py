"""Media are found by name, in any case and folder, and stems of one name are distinguished or refused."""

import pytest

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.suites.media_folder import MediaFolder

VOCAL = "/root/v2c/v2c_mono_wavs_vocal/speech/Tim-00-1.wav"
BACKGROUND = "/root/v2c/v2c_mono_wavs_background/speech/Tim-00-1.wav"


def folder_with(tmp_path, *names):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return MediaFolder(tmp_path)


@pytest.mark.parametrize(
    ("background", "vocal"),
    [
        ("v2c_mono_wavs_background/speech/Tim-00-1.wav", "v2c_mono_wavs_vocal/speech/Tim-00-1.wav"),
        ("background/Tim-00-1.wav", "speech/Tim-00-1.wav"),  # "speech" is in both paths of the list
        ("a/b/Background/tim-00-1.WAV", "a/b/Vocals/TIM-00-1.wav"),
        ("audio/Tim-00-1.wav", "speech/Tim-00-1.wav"),
        ("stems/instrumental/Tim-00-1.wav", "stems/voice/Tim-00-1.wav"),
    ],
)
def test_stems_of_one_name_are_distinguished_by_their_folders(tmp_path, background, vocal):
    folder = folder_with(tmp_path, background, vocal)
    assert folder.find(BACKGROUND, "background") == tmp_path / background
    assert folder.find(VOCAL, "speech") == tmp_path / vocal


def test_folders_of_the_list_decide_where_words_do_not(tmp_path):
    folder = folder_with(tmp_path, "b/x.wav", "s/x.wav")
    assert folder.find("/data/b/x.wav", "background") == tmp_path / "b" / "x.wav"
    assert folder.find("C:\\data\\s\\x.wav", "speech") == tmp_path / "s" / "x.wav"


def test_one_stem_is_never_taken_for_the_other(tmp_path):
    folder = folder_with(tmp_path, "vocal/Tim-00-1.wav")
    assert folder.find(BACKGROUND, "background") is None
    assert folder.find(VOCAL, "speech") == tmp_path / "vocal" / "Tim-00-1.wav"


def test_doubtful_names_are_refused_with_both_files(tmp_path):
    folder = folder_with(tmp_path, "one/Tim-00-1.wav", "two/Tim-00-1.wav")
    with pytest.raises(UserError, match=r"one.Tim-00-1\.wav and .*two.Tim-00-1\.wav: both match the speech"):
        folder.find(VOCAL, "speech")


def test_what_is_not_there_is_none_and_a_missing_folder_is_named(tmp_path):
    assert folder_with(tmp_path, "a.mp4").find("/x/b.mp4", "video") is None
    with pytest.raises(UserError, match=r"--media .*nothing: no such folder"):
        MediaFolder(tmp_path / "nothing")
