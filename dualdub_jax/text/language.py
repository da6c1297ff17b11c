"""Whether a script is in English, the language of the normaliser and of the bundled model.

Source: langid (Lui and Baldwin, 2012) by `py3langid`, among the languages of Latin letters that scripts are
likely written in; thresholds are our choice, from sentences of Puppet Stage and others.
"""

import functools
from typing import Any

_LANGUAGES = {
    "en": "English", "fr": "French", "de": "German", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "pl": "Polish",
    "cs": "Czech", "ro": "Romanian", "tr": "Turkish", "hu": "Hungarian", "id": "Indonesian",
    "vi": "Vietnamese", "la": "Latin", "ca": "Catalan", "hr": "Croatian",
}  # fmt: skip
_FEWEST_WORDS = 3  # distinct ones
_MOST_CHARACTERS = 2000  # of the beginning
_LEAST_ENGLISH = 0.01  # probability
_SURE = 0.8


def foreign_language(text: str) -> str | None:
    """The language of a text that is hardly English: its name, or "another language"; else None."""
    text = text[:_MOST_CHARACTERS]
    if len({word for word in text.lower().split() if sum(map(str.isalpha, word)) > 1}) < _FEWEST_WORDS:
        return None
    ranked = dict(_identifier().rank(text))
    best = max(ranked, key=ranked.get)
    if ranked["en"] >= _LEAST_ENGLISH:
        return None
    return _LANGUAGES[best] if ranked[best] >= _SURE else "another language"


@functools.cache
def _identifier() -> Any:
    from py3langid import langid  # loads a model of 5 MB: imported when it is needed

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(_LANGUAGES))
    return identifier
