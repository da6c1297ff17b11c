"""Takes of a film, regions made anew, and the choice among them."""

import html

import numpy as np
import pytest

from tests.apps.web.requests import request
from tests.apps.web.test_making import fetch_wav, player_of
from tests.apps.web.visitor import Visitor, text_of
from tests.films import make_film


@pytest.fixture
def made(visitor, tmp_path) -> tuple[Visitor, str, dict]:
    """A visitor, and the player of a film of four seconds."""
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4", num_frames=100)))
    return visitor, *player_of(visitor, visitor.call("generate", *request(seed="3")))


def test_a_region_is_made_anew_and_the_rest_stays(made):
    visitor, folder, _ = made
    first = {name: fetch_wav(visitor, f"{folder}/take1.{name}.wav") for name in ("speech", "background")}
    _, player = player_of(visitor, visitor.call("redo", "1.0", "2.0", None))
    one, two = player["takes"]
    assert not one["is_chosen"] and two["is_chosen"] and two["region_s"] == [1.0, 2.0]
    assert two["detail"] == "seed 4, 1.00 to 2.00 s of take 1 anew"
    for name, before in first.items():
        after = fetch_wav(visitor, f"{folder}/take2.{name}.wav")
        same = before == after
        assert same[:16_000].all() and same[32_000:].all()
        np.testing.assert_array_equal(before, fetch_wav(visitor, f"{folder}/take1.{name}.wav"))
    assert (fetch_wav(visitor, f"{folder}/take2.speech.wav") != first["speech"]).any()
    np.testing.assert_array_equal(
        fetch_wav(visitor, f"{folder}/mix.wav"), fetch_wav(visitor, f"{folder}/take2.mix.wav")
    )


def test_another_take_is_chosen_and_delivered(made):
    visitor, folder, _ = made
    visitor.call("redo", "0.5", "3.5", "9")
    outputs = visitor.call("choose", event={"take": 1})
    _, player = player_of(visitor, outputs)
    assert [take["is_chosen"] for take in player["takes"]] == [True, False]
    np.testing.assert_array_equal(
        fetch_wav(visitor, f"{folder}/mix.wav"), fetch_wav(visitor, f"{folder}/take1.mix.wav")
    )
    assert visitor.http.get(f"{folder}/film.receipt.json").json()["seed"] == 3


def test_several_takes_are_made_and_ranked(visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    folder, player = player_of(visitor, visitor.call("generate", *request(takes="2")))
    assert [take["label"] for take in player["takes"]] == ["Take 1", "Take 2"]
    assert [take["is_chosen"] for take in player["takes"]] == [False, True]
    assert "av_correlation 1.00" in player["takes"][1]["detail"]
    for take in player["takes"]:
        for track in take["tracks"].values():
            assert visitor.http.get(f"{folder}/{track['sound']}").status_code == 200


def test_a_film_is_redone_after_another_was_uploaded(made, tmp_path):
    visitor, _, _ = made
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "other.mp4")))
    _, player = player_of(visitor, visitor.call("redo", "1.0", "2.0", None))
    assert player["title"] == "film.mp4" and len(player["takes"]) == 2


def test_bad_regions_are_explained_and_the_film_stays(made):
    visitor, folder, _ = made
    for region, message in (
        (("", "2.0"), "no region yet"),
        (("3", "9"), "region 3-9: is not inside the film"),
        (("2", "1"), "region 2-1: is empty"),
        (("a", "1"), "“From”: expected a number, got 'a'"),
    ):
        outputs = visitor.call("redo", *region, "")
        assert html.unescape(text_of(outputs[0])).startswith(message)
        assert player_of(visitor, outputs)[0] == folder


def test_without_a_film_there_is_nothing_to_redo_or_choose(visitor):
    assert "generate it again" in text_of(visitor.call("redo", "1.0", "2.0", None)[0])
    assert "generate it again" in text_of(visitor.call("choose", event={"take": 1})[0])


def test_takes_that_do_not_exist_are_refused(made):
    visitor, _, _ = made
    assert "has no take 7" in text_of(visitor.call("choose", event={"take": 7})[0])
    visitor.join("choose", event={"take": "../../etc"})
    assert not any("root:" in str(message) for message in visitor.messages())
    assert "“Takes” is 99" in text_of(visitor.call("generate", *request(takes="99"))[0])
