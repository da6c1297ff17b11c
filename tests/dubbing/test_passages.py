"""When the words of cues are due: each speaker's in turn, inside of the cue; or refused by number."""

from fractions import Fraction

import pytest

from dualdub_jax.dubbing.passages import check_rates, find_passages
from dualdub_jax.dubbing.utterances import rate_warning
from dualdub_jax.errors import UserError
from dualdub_jax.text.script import Script, read_script

MARY, JOHN = "<v Mary>", "<v John>"


def script_of(*cues: tuple[float, float, str]) -> Script:
    lines = [f"00:{a:06.3f} --> 00:{b:06.3f}\n{text}\n" for a, b, text in cues]
    return read_script("WEBVTT\n\n" + "\n".join(lines), Fraction(60))


def placed(*cues: tuple[float, float, str]) -> list[tuple[str, float, float]]:
    return [
        (p.utterance.speaker or p.utterance.text, float(p.start_s), float(p.end_s))
        for p in find_passages(script_of(*cues))
    ]


def check(*cues: tuple[float, float, str], fastest: int = 20, is_strict: bool = False) -> None:
    check_rates("s.vtt", find_passages(script_of(*cues)), Fraction(fastest), is_strict)


def test_the_turns_of_a_cue_share_its_time_by_their_letters():
    cue = (1.0, 3.0, f"{MARY}eight let{JOHN}eight let {MARY}and twenty letters so")
    passages = find_passages(script_of(cue))
    assert [p.utterance.text for p in passages] == ["eight let", "eight let", "and twenty letters so"]
    assert [float(p.rate) for p in passages] == pytest.approx([19.5] * 3) and {p.cue for p in passages} == {1}


def test_speakers_that_overlap_stay_inside_their_cues():
    cues = (1.0, 3.0, f"{MARY}one two three"), (2.0, 4.0, f"{JOHN}four five six")
    (_, start_s, middle_s), (_, other_s, end_s) = placed(*cues)
    assert (start_s, end_s) == (1.0, 4.0) and middle_s == other_s and 2.0 <= middle_s <= 3.0


def test_a_cue_inside_of_another_is_spoken_first_where_that_leaves_more_time():
    cues = (0.0, 10.0, f"{MARY}" + "many words " * 10), (1.0, 2.0, f"{JOHN}not so fast")
    (john, start_s, middle_s), (mary, other_s, end_s) = placed(*cues)
    assert (john, mary, start_s, end_s) == ("John", "Mary", 1.0, 10.0) and 1.5 < middle_s == other_s <= 2.0
    late = (0.0, 10.0, f"{MARY}" + "many words " * 10), (9.0, 10.0, f"{JOHN}not so fast")
    assert [name for name, *_ in placed(*late)] == ["Mary", "John"]


def test_cues_that_cannot_be_spoken_inside_of_themselves_share_their_common_time():
    cues = (0.0, 10.0, "a " * 69), (4.5, 5.5, "b " * 9)
    (_, start_s, middle_s), (_, other_s, end_s) = placed(*cues)
    assert (start_s, end_s) == (0.0, 10.0) and 8.7 < middle_s == other_s < 9.0
    check(*cues)


def test_cues_that_hardly_overlap_are_cut_at_the_next_one():
    assert placed((0.0, 2.02, "one"), (2.0, 4.0, "two")) == [("one", 0.0, 2.0), ("two", 2.0, 4.0)]


@pytest.mark.parametrize(
    ("cues", "message"),
    [
        (
            [(0.3, 3.0, "hello"), (4.0, 4.5, "a" * 55)],
            r"s.vtt: cue 2 \(4.00 s to 4.50 s\) has 55 letters, 110 a second, but at most 10 can be spoken "
            r"in 0.50 s \(20 a second\); shorten the text or give it 2.75 s, or squeeze it by --max-rate 7.8",
        ),
        ([(0.0, 0.04, "a")], r"cue 1 \(0.00 s to 0.04 s\) has 1 letters, 25 a second, but at most 0 can"),
        (
            [(1.0, 2.0, f"{MARY}eighteen letters x"), (1.0, 2.0, f"{JOHN}eighteen letters x")],
            r"cue 1 \(Mary, 1.00 s to 1.50 s\) has 18 letters, 36 a second, but at most 10 .*; likewise "
            r"cue 2 \(John, 1.50 s to 2.00 s\)$",
        ),
        ([(1.0, 3.0, "z " * 30)], r"cue 1 .* has 59 letters, 30 a second, but at most 40 can be spoken in 2"),
    ],
)
def test_a_cue_too_short_for_its_text_is_refused(cues, message):
    with pytest.raises(UserError, match=message):
        check(*cues)


def test_a_higher_rate_is_accepted_and_told_and_a_comfortable_one_is_not():
    cue = (4.0, 4.5, "ten letter")
    check(cue)
    (warning,) = rate_warning("s.vtt", [p.utterance for p in find_passages(script_of(cue, (5, 6, "slow")))])
    assert warning.startswith(
        "s.vtt: spoken faster than the comfortable 14 letters a second: cue 1 (4.00 s to 4.50 s) at 20, 1.43 "
        "times as fast; shorten"
    )
    assert rate_warning("s.vtt", [p.utterance for p in find_passages(script_of((5, 6, "slow")))]) == []
    with pytest.raises(UserError, match="at most 10"):
        check((4.0, 4.5, "ten letters"))
    check((4.0, 4.5, "ten letters"), fastest=22)
    with pytest.raises(
        UserError, match=r"at most 7 .*\(14 a second, the comfortable rate of --strict\); shor.* s$"
    ):
        check(cue, fastest=14, is_strict=True)
