"""Languages of tracks: as users name them (BCP 47, ISO 639), and as containers store them (ISO 639-2)."""

import langcodes

from dualdub_jax.errors import UserError

_TERMINOLOGICAL = {"mp4"}  # "deu" and "fra"; the other formats have "ger" and "fre"


def check_language(name: str) -> str:
    """The tag of BCP 47 for a language.

    Args:
        name: such as "en", "eng", "ger" or "pt-BR".

    Raises:
        UserError: there is no such language, or ISO 639-2 has no code of it.
    """
    try:
        language = langcodes.Language.get(name)
        if language.is_valid():
            language.to_alpha3()
            return language.to_tag()
    except (LookupError, ValueError):  # unknown to ISO 639; malformed
        pass
    raise UserError(
        f"language (--language) is {name!r}: give a code of ISO 639 or a tag of BCP 47, such as en, deu or "
        "pt-BR"
    )


def stored_language(tag: str, format_name: str) -> str:
    """The code of three letters that a container format stores for a tag of BCP 47."""
    variant = "T" if format_name in _TERMINOLOGICAL else "B"
    return langcodes.Language.get(tag).to_alpha3(variant)
