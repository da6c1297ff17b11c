"""The authors' list, in a small one of the same form: media found, voices chosen, what is missing listed."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from dualdub_jax.errors import UserError
from dualdub_jax.evaluation.suites.dualbench import DualBenchSuite, character
from tests.films import make_film

CLIPS = {
    "Tim-00-0001": 30,
    "Tim-00-0002": 40,
    "Tim-01-0003": 50,
    "Bo-00-0001": 33,
    "Bo-00-0002": 25,
    "Al-0": 25,
}


def line(clip_id: str, **more) -> str:
    return json.dumps(
        {
            "task": "v2st",
            "id": clip_id,
            "audio": f"/root/v2c_process/v2c_mono_wavs_background/speech/{clip_id}.wav",
            "speech": f"/root/v2c_process/v2c_mono_wavs_vocal/speech/{clip_id}.wav",
            "video": f"/user-fs/somebody/v2c_process/video/{clip_id}.mp4",
            "text": f"This is {clip_id}",
        }
        | more
    )


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for name in ("films", "stems/background", "stems/vocal"):
        (folder / name).mkdir(parents=True)
    for number, (clip_id, num_frames) in enumerate(CLIPS.items()):
        make_film(folder / "films" / f"{clip_id}.MP4", num_frames=num_frames)
        tone = np.sin(np.arange(44_100 * num_frames // 25) / (7 + number))
        soundfile.write(folder / "stems" / "background" / f"{clip_id}.wav", 0.1 * tone, 44_100)
        stereo = np.stack([0.4 * tone, 0.2 * tone], axis=1)
        soundfile.write(folder / "stems" / "vocal" / f"{clip_id.lower()}.wav", stereo, 44_100)
    return folder


@pytest.fixture(scope="module")
def list_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "video-to-soundtrack.jsonl"
    path.write_text("\n".join(line(clip_id) for clip_id in CLIPS) + "\n")
    return path


@pytest.fixture(scope="module")
def suite(list_path, media):
    return DualBenchSuite(list_path, media)


def test_all_clips_in_the_order_of_the_list_with_their_exact_lengths(suite):
    assert suite.ids == list(CLIPS)
    for clip_id, num_frames in CLIPS.items():
        clip = suite.load(clip_id).clip
        assert clip.num_samples == num_frames * 640 and clip.text == f"This is {clip_id}"
        assert len(clip.true_speech) == len(clip.true_background) == clip.num_samples
        assert 0.25 < np.abs(clip.true_speech).max() < 0.35  # the mean of both channels, at its level
        assert clip.world is None and clip.speech is None


def test_voices_are_of_another_clip_of_the_same_character(suite):
    for clip_id in CLIPS:
        notes = suite.load(clip_id).notes
        if clip_id == "Al-0":
            assert notes["voice"] is None and suite.load(clip_id).voice is None
        else:
            assert notes["voice"] != clip_id and character(notes["voice"]) == character(clip_id)
        assert character(notes["other_voice"]) != character(clip_id)


def test_voices_are_the_same_every_time_and_do_not_depend_on_order_or_limit(
    suite, list_path, media, tmp_path
):
    reversed_path = tmp_path / "list.jsonl"
    reversed_path.write_text("\n".join(reversed(list_path.read_text().splitlines())))
    other = DualBenchSuite(reversed_path, media, limit=3)
    for clip_id in other.ids:
        assert other.load(clip_id).notes == suite.load(clip_id).notes


def test_a_silent_reference_gives_way_to_the_next(suite, list_path, media, tmp_path):
    first = suite.load("Tim-00-0001").notes["voice"]
    shutil.copytree(media, tmp_path / "media")
    soundfile.write(tmp_path / "media" / "stems" / "vocal" / f"{first.lower()}.wav", np.zeros(44_100), 44_100)
    second = DualBenchSuite(list_path, tmp_path / "media").load("Tim-00-0001").notes["voice"]
    assert second != first and character(second) == "Tim"


def test_missing_media_are_listed_and_clips_without_video_left_out(list_path, media, tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(list_path.read_text() + line("Tim-09-0009") + "\n" + line("Zoe-1") + "\n")
    suite = DualBenchSuite(path, media)
    assert suite.ids == list(CLIPS)
    found = {(missing.id, missing.kind): missing.file for missing in suite.missing_media}
    assert found == {
        (clip_id, kind): f"{clip_id}.{'mp4' if kind == 'video' else 'wav'}"
        for clip_id in ("Tim-09-0009", "Zoe-1")
        for kind in ("video", "speech", "background")
    } | {("Al-0", "voice"): "speech of another clip of Al"}
    protocol = suite.protocol()
    assert (protocol["num_listed"], protocol["num_present"], protocol["num_without_voice"]) == (8, 6, 1)


def test_a_limit_takes_the_same_clips_every_time_and_more_of_them_with_a_larger_one(list_path, media):
    chosen = [DualBenchSuite(list_path, media, limit=n).ids for n in (2, 4, 99)]
    assert [len(ids) for ids in chosen] == [2, 4, 6]
    assert set(chosen[0]) < set(chosen[1]) < set(chosen[2])
    assert chosen[1] == [clip_id for clip_id in CLIPS if clip_id in chosen[1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line("a-1") + "\n{broken", "line 2: not JSON"),
        (line("a-1") + "\n\n[1]", "line 3: expected an object"),
        (line("a-1") + "\n" + line("a-1"), "line 2: id 'a-1' duplicates that of line 1"),
        (line("a-1", text=None), 'line 1: "text" must be a string, got None'),
        ('{"task": "v2st"}', 'line 1: has no "id"'),
        ("", "holds no clip"),
    ],
)
def test_bad_lists_are_refused_by_line(tmp_path, media, text, message):
    (tmp_path / "list.jsonl").write_text(text)
    with pytest.raises(UserError, match=rf"list\.jsonl.*{message}"):
        DualBenchSuite(tmp_path / "list.jsonl", media)


def test_no_video_at_all_is_an_error_that_names_one(list_path, tmp_path):
    with pytest.raises(UserError, match=r"holds none of the 6 videos of .*such as Tim-00-0001\.mp4"):
        DualBenchSuite(list_path, tmp_path)
