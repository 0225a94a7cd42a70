"""Seeds of fits: they derive from what a fit is, never from when or where it is computed."""

from __future__ import annotations

from factor_ray.data.digests import digest
from factor_ray.data.windows import Window


def fit_seed(seed: int, model: str, window: Window, member: int | None) -> int:
    """Return a member's seed, or with None that of the batch order, which the members of a window share.

    It knows no data, hyperparameters or order: points share random numbers, whoever fits them, whenever.

    Parameters
    ----------
    seed : int
        Seed of the run.
    model : str
    window : Window
        Its training and validation dates count.
    member : int or None
    """
    dates = window.dates()
    return int(digest([seed, model, dates["train"], dates["validation"], member])[:15], 16)


def macro_state_seed(seed: int, window: Window) -> int:
    """Return the seed of a window's macro state."""
    dates = window.dates()
    return int(digest([seed, "macro_state", dates["train"], dates["validation"]])[:15], 16)
