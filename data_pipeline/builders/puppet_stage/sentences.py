"""Sentences of the puppets: the closed GRID grammar and an open generator of free English.

A sentence belongs to one split, decided by a hash of its text, so no sentence of one split is ever spoken
in another, nor in its reference recordings, whatever the seed and the sizes.
Source: the grammar is the GRID audiovisual corpus's (Cooke et al., 2006); the free English is our own.
"""

# ruff: noqa: SIM905 (word lists read best as running text)

import hashlib
from typing import Literal

import numpy as np

Kind = Literal["grid", "free"]

# 72 script tokens less the begin and end markers is 70; free English stays well below, to fit 4 s clips.
MAX_CHARACTERS = 60

GRID: tuple[tuple[str, ...], ...] = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),  # without w, whose name has three syllables
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
_LETTER_SLOT = 3

# Per cent of all sentences; test_seen and test_unseen have different sentences, too.
_SPLIT_SHARES = {"train": 90, "validation": 3, "test_seen": 3, "test_unseen": 4}
SPLITS: tuple[str, ...] = tuple(_SPLIT_SHARES)

_WHO = (
    "my brother|my sister|the old sailor|the young doctor|our teacher|her uncle|his neighbour|the baker|"
    "a small child|the farmer|the captain|the judge|our cousin|the painter|the night guard|a tall stranger|"
    "the mayor|the gardener|her best friend|the pilot|the cook|my grandmother|the fisherman|the singer"
).split("|")
_WHAT = (
    "the letter|a wooden chair|the silver key|an orange|the yellow bicycle|a heavy stone|the broken clock|"
    "the kitchen door|a paper boat|the last ticket|a bottle of milk|the garden gate|an empty bag|the blanket|"
    "a jar of honey|the old map|the black umbrella|a loaf of bread|the piano|a strange photograph|the lamp|"
    "a warm coat|the front window|an apple pie|the radio|a bucket of water"
).split("|")
_DID = (
    "found|lost|carried|painted|forgot|dropped|wanted|sold|cleaned|opened|fixed|hid|brought|noticed|kept|"
    "borrowed|moved|watched|touched|liked"
).split("|")
_WHERE = (
    "near the river|behind the house|under the bridge|in the forest|by the church|on the roof|at school|"
    "in the cellar|across the street|on the train|beside the lake|at the market|in the attic|by the sea|"
    "along the road|in the village|on the hill|outside the shop|in the rain|at the station"
).split("|")
_WHEN = (
    "this morning|last night|on friday|in july|before dinner|after the storm|at midnight|years ago|today|"
    "every winter|once a week|just now|in the spring|yesterday|at noon|during lunch"
).split("|")
_ADJECTIVE = (
    "cold|quiet|heavy|bright|strange|empty|warm|narrow|broken|gentle|dusty|sharp|sweet|hollow|simple|perfect|"
    "noisy|clever|tired|honest|careful|modern|distant|golden"
).split("|")
_PLURAL = (
    "horses|children|clouds|buses|windows|shadows|flowers|musicians|trees|letters|birds|soldiers|engines|"
    "stories|dogs|potatoes|bells|ships|stars|mountains|students|towers|machines|rivers"
).split("|")
_PLURAL_VERB = (
    "vanish|return|arrive|look beautiful|need help|keep moving|fall asleep|sound alike|grow slowly|"
    "turn around|stand still|change colour|make noise|seem lonely|matter most|wait for us"
).split("|")
_ACTION = (
    "go home|buy some fish|call the office|close the shop|sing together|take a walk|leave early|try again|"
    "play chess|write it down|look for gold|cross the border|build a fire|share the money|catch the bus|"
    "wash the dishes|study music|visit my father|change the plan|pay the bill|feed the cat|begin the show"
).split("|")
_PERSON = "i|you|we|they".split("|")
_OPENING = (
    "maybe|of course|sometimes|tomorrow|at last|in summer|by accident|if possible|one day|perhaps".split("|")
)

# Each template is a sequence of literal words and word lists.
_TEMPLATES: tuple[tuple[str | list[str], ...], ...] = (
    (_WHO, _DID, _WHAT),
    (_WHO, _DID, _WHAT, _WHEN),
    (_WHO, _DID, _WHAT, _WHERE),
    ("the", _ADJECTIVE, _PLURAL, _PLURAL_VERB),
    ("the", _PLURAL, _WHERE, _PLURAL_VERB),
    (_OPENING, "the", _PLURAL, _PLURAL_VERB),
    (_OPENING, _PERSON, "could", _ACTION),
    (_PERSON, "want to", _ACTION, _WHEN),
    ("why did", _PERSON, _ACTION, "without", _WHO),
    ("did", _WHO, "ever", _ACTION),
    ("please do not", _ACTION, _WHEN),
    ("where is", _WHAT),
    ("there was", _WHAT, _WHERE),
    ("it was a", _ADJECTIVE, "and", _ADJECTIVE, "day"),
    ("how many", _PLURAL, "did", _PERSON, "see", _WHERE),
    ("let us", _ACTION, _WHERE),
)


def split_of(sentence: str) -> str:
    """The one split that `sentence` belongs to; the same on every machine and for every seed."""
    bucket = int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=4).digest(), "big") % 100
    for split, share in _SPLIT_SHARES.items():
        if bucket < share:
            return split
        bucket -= share
    raise AssertionError("the shares of the splits add up to 100")


def draw(rng: np.random.Generator, split: str, kind: Kind) -> str:
    """Draws a sentence of a split.

    Args:
        rng: the clip's generator.
        split: one of `SPLITS`.
        kind: "grid" or "free".

    Returns:
        Lower-case words, at most `MAX_CHARACTERS` characters.
    """
    while True:
        sentence = _draw_grid(rng) if kind == "grid" else _draw_free(rng)
        if len(sentence) <= MAX_CHARACTERS and split_of(sentence) == split:
            return sentence


def _draw_grid(rng: np.random.Generator) -> str:
    return " ".join(words[rng.integers(len(words))] for words in GRID)


def _draw_free(rng: np.random.Generator) -> str:
    template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
    return " ".join(part if isinstance(part, str) else part[rng.integers(len(part))] for part in template)


def vocabulary() -> tuple[str, ...]:
    """Every word of both kinds of sentences, sorted: about 350."""
    lists = [part for template in _TEMPLATES for part in template]
    phrases = [phrase for part in (*GRID, *lists) for phrase in ([part] if isinstance(part, str) else part)]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def is_grid(sentence: str) -> bool:
    """True if `sentence` is one of the 64,000 of the closed grammar."""
    words = sentence.split()
    return len(words) == len(GRID) and all(w in slot for w, slot in zip(words, GRID, strict=True))


def spoken_form(sentence: str) -> str:
    """`sentence` for a synthesiser: spelt letters in upper case, so that "a" is not an article."""
    words = ["I" if word == "i" else word for word in sentence.split()]
    if is_grid(sentence):
        words[_LETTER_SLOT] = words[_LETTER_SLOT].upper()
    return " ".join(words)
