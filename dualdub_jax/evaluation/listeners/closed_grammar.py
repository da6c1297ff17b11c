"""The closed grammar of the GRID corpus, to which the grammar recogniser is constrained.

It is duplicated here because scoring must not depend on the renderer; a test holds it equal to the grammar of
Puppet Stage. Source: Cooke et al. (2006).
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
    """Whether a text, normalised by `text_normaliser`, is a sentence of the grammar."""
    words = text.split()
    return len(words) == len(SLOTS) and all(word in slot for word, slot in zip(words, SLOTS, strict=True))
