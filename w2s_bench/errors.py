"""What can go wrong, in words for the person at the keyboard."""

from collections.abc import Iterable


class W2SError(Exception):
    """Something failed and is named: culprit, what was expected, what came, what to do. Exit status 1."""


class UsageError(W2SError):
    """Bad usage or configuration, in one line. Exit status 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest known word, '' where none is close."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""
