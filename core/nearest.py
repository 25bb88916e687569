"""The one way in which a mistyped name is answered with the name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'klines'?" or an empty text when nothing is near."""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def one_of(word: str, known: Iterable[str]) -> str:
    """What there is instead of a wrong word: "; did you mean 'um'? There are spot, um, cm", the hint if one is near."""
    names = list(known)
    hint = did_you_mean(word, names)
    return f"{hint} There are {', '.join(names)}" if hint else f"; there are {', '.join(names)}"
