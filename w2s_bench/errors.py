"""What can go wrong, in words for the person at the keyboard."""


class W2SError(Exception):
    """Something failed and is named: culprit, what was expected, what came, what to do. Exit status 1."""


class UsageError(W2SError):
    """Bad usage or configuration, said in one line. Exit status 2."""
