"""The closed grammar of the GRID corpus: what a grammar recogniser can understand.

Source: Cooke et al. (2006). Kept here, for scoring must not depend on what renders data; a test holds it
equal to the words that Puppet Stage speaks.
"""

SLOTS: tuple[tuple[str, ...], ...] = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),  # without w, whose name has three syllables
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
LETTER_SLOT = 3


def holds(text: str) -> bool:
    """Whether a normalised text is a sentence of the grammar."""
    words = text.split()
    return len(words) == len(SLOTS) and all(word in slot for word, slot in zip(words, SLOTS, strict=True))
