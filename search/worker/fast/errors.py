"""The one error of the fast epoch, which never reaches a user."""


class NotFastError(Exception):
    """The training cannot take the fast path; the message is the reason that the record gives."""
