"""Planning: windows tile the film, and every word has its place or is refused."""

import itertools
from collections.abc import Sequence

import pytest

from dualdub_jax.config import GridConfig
from dualdub_jax.dubbing.rates import MAX_RATE
from dualdub_jax.dubbing.windows import plan_windows
from dualdub_jax.errors import UserError
from dualdub_jax.text.normaliser import normalise
from dualdub_jax.text.script import Script
from dualdub_jax.text.tokenizer import ByteTokenizer
from dualdub_jax.text.words import Word, join_words

GRID = GridConfig()


def count_tokens(words: Sequence[Word]) -> int:
    return len(ByteTokenizer().encode(join_words(words)))


def script_of(text: str) -> Script:
    return Script("story.txt", normalise(text)[0])


def plan(num_frames: int, text: str = "", grid: GridConfig = GRID):
    return plan_windows(num_frames, script_of(text), grid, count_tokens)


@pytest.mark.parametrize("num_frames", [13, 99, 100, 101, 125, 175, 176, 250, 251, 1000, 14_901])
def test_windows_tile_the_film_and_fit_the_model(num_frames):
    windows = plan(num_frames)
    assert windows[0].start_frame == 0 and windows[0].num_context == 0
    for before, after in itertools.pairwise(windows):
        assert after.start_frame == before.end_frame
        assert after.num_context == 25
    assert windows[-1].end_frame == num_frames
    assert all(w.num_new > 0 and w.num_context + w.num_new <= 100 and w.first_frame >= 0 for w in windows)


@pytest.mark.parametrize(
    ("num_frames", "lengths"),
    [
        (100, [100]),
        (101, [76, 25]),
        (125, [100, 25]),
        (175, [100, 75]),
        (176, [100, 51, 25]),
        (251, [100, 75, 51, 25]),
    ],
)
def test_windows_are_few_and_none_is_a_scrap(num_frames, lengths):
    assert [w.num_new for w in plan(num_frames)] == lengths


def test_short_script_is_spoken_at_once():
    texts = [w.text for w in plan(1000, "hello there")]
    assert texts[0] == "hello there" and not any(texts[1:])


def test_sentences_are_kept_whole_where_they_fit():
    windows = plan(250, "The captain lost the silver key. My brother found it in the garden. We were glad.")
    assert [w.text for w in windows] == [
        "the captain lost the silver key",
        "my brother found it in the garden",
        "we were glad",
    ]


def test_long_sentences_are_divided_at_words():
    text = " ".join(["seven words are not a sentence here"] * 3)
    windows = plan(250, text)
    assert " ".join(w.text for w in windows if w.text) == text
    assert all(len(w.text) <= 14 * w.num_new / 25 for w in windows)


def test_much_text_is_spoken_faster_up_to_the_limit():
    text = " ".join(["tick"] * 14)  # 69 letters and spaces in 4 s: more than 14, less than 20 a second
    assert plan(100, text)[0].text == text


@pytest.mark.parametrize(("num_frames", "text"), [(125, "a" * 20_000), (125, "tell me more " * 1539)])
def test_too_much_text_names_the_most_that_fits(num_frames, text):
    with pytest.raises(UserError) as error:
        plan(num_frames, text)
    message = str(error.value)
    assert message.startswith(
        f"story.txt: the script has {len(text.strip())} characters as it is spoken but a video of 5.00 s "
        "holds at most "
    )
    most = int(message.split("at most ")[1].split(" ")[0])
    assert 80 <= most <= 5 * MAX_RATE
    # And it is true: so many characters of it do fit, and no word more.
    cut = text[:most]
    said = "".join(w.text for w in plan(num_frames, cut)).replace(" ", "")
    assert said == cut.replace(" ", "")
    with pytest.raises(UserError):
        plan(num_frames, text[: most + 26])


def test_numbers_count_as_they_are_spelt():
    with pytest.raises(UserError, match=r"has 188 characters as it is spoken .* at most 83 of"):
        plan(125, "1999 " * 9)


def test_the_token_window_counts_too():
    grid = GridConfig(num_script_tokens=22)
    assert plan(100, "a b c d e f g h i j", grid)[0].text == "a b c d e f g h i j"
    with pytest.raises(UserError, match="holds at most 19 of them"):
        plan(100, "a b c d e f g h i j k", grid)
