"""The two ways a run can fail, as its user sees them."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used: one sentence naming the thing, what was expected and the remedy.

    The command line prints the sentence and exits with code 2.
    """


class WorkError(RuntimeError):
    """Work that was begun could not be finished: the command line prints the sentence and exits with code 1."""
