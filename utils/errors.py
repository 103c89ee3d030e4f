"""Errors that are the user's to mend."""


class InputError(Exception):
    """Something given to a command cannot be used; the message says what, where, what was expected and what to do.

    Commands print the message alone and exit with 2.
    """
