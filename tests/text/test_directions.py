"""Text that is not spoken is separated from text that is."""

import pytest

from dualdub_jax.text.directions import separate_directions


@pytest.mark.parametrize(
    ("text", "spoken", "speakers", "unspoken"),
    [
        ("MARY: Hello.\nOld Man: hi", "Hello. hi", ("MARY", "Old Man"), ("MARY", "Old Man")),
        ("[JOHN] Hello [music playing]", "Hello", ("JOHN",), ("JOHN", "[music playing]")),
        (">> MARY: Hello.\n>> Hi. JOHN: yes", "Hello. Hi. yes", ("MARY", "JOHN"), ("MARY", "JOHN")),
        ("ÉLODIE: yes\nÅsa Öberg: no", "yes no", ("ÉLODIE", "Åsa Öberg"), ("ÉLODIE", "Åsa Öberg")),
        ("DR. JONES (softly): go", "go", ("DR. JONES",), ("(softly)", "DR. JONES")),
        ("- MAN #2: yes\n- O'Brien: no", "- yes - no", ("MAN #2", "O'Brien"), ("MAN #2", "O'Brien")),
        ("Hi (laughs) there *sighs*", "Hi there", (), ("(laughs)", "*sighs*")),
        ("(to Mary) hi\n(Everybody leaves the room at once)", "hi", (),
         ("(to Mary)", "(Everybody leaves the room at once)")),
        ("♪ la la ♪ Hello\n♪ di dum", "Hello", (), ("♪ la la ♪", "♪ di dum")),
        ("♪ la la\ndi dum ♪\nHello", "Hello", (), ("♪ la la di dum ♪",)),
        ("♪ la la\nHello\n- ♪ di ♪ dum", "Hello - dum", (), ("♪ la la", "♪ di ♪")),
        ("# la la #\nWe're #1", "We're #1", (), ("# la la #",)),
        ("[BIRDS CHIRPING] Hello\n[Ann Manning]: Hi", "Hello Hi", ("Ann Manning",),
         ("[BIRDS CHIRPING]", "Ann Manning")),
        ("INT. HOUSE - DAY\nHello", "Hello", (), ("INT. HOUSE - DAY",)),
    ],
)  # fmt: skip
def test_labels_and_directions_are_separated(text, spoken, speakers, unspoken):
    separated = separate_directions(text)
    assert " ".join(separated.text.split()) == spoken
    assert separated.speakers == speakers
    assert {piece.text for piece in separated.unspoken} == set(unspoken)


@pytest.mark.parametrize(
    "text",
    [
        "Note: this is spoken",
        "WARNING: stay away",
        "I said: go",
        "mary: hello",
        "10:00 is late",
        "The cat (a black one) sat",
        "(two of them) went",
        "(415) 555-0123",
        "I *really* mean it, **now**",
        "lay blue (at e) nine",
        "I love you (not really) dear",
    ],
)
def test_spoken_words_stay(text):
    separated = separate_directions(text)
    assert separated.text == text and not separated.unspoken and not separated.speakers


def test_a_label_holds_up_to_the_next_one():
    turns = separate_directions("one\nMARY: two\nthree [mary ann]: four", ["Mary Ann"], "Bob").turns
    assert [(turn.speaker, turn.text.split()) for turn in turns] == [
        ("Bob", ["one"]),
        ("MARY", ["two", "three"]),
        ("mary ann", ["four"]),
    ]


def test_known_names_on_their_own_lines_are_labels_as_in_screenplays():
    text = "MARY\nHello,\nJohn.\n\nOLD MAN (V.O.)\n(softly)\nMary\nMARY\n\nBOB\ngo"
    turns = separate_directions(text, ["Mary", "Old Man"]).turns
    assert [(turn.speaker, turn.text.split()) for turn in turns] == [
        ("", []),
        ("MARY", ["Hello,", "John."]),
        ("OLD MAN", ["Mary", "MARY", "BOB", "go"]),
    ]
