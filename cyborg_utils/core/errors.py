"""The one error type that a user's mistake, file or machine can raise."""


class CyborgError(Exception):
    """Something the user can mend: the message names the file, the row and column where known, and the remedy."""
