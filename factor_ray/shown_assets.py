"""The assets that a user wants to see in the report, told apart from those that the data does not have."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from factor_ray.data.panel import Panel
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.experiment import ReportSettings
from factor_ray.measures import rows_tested


def require_shown_assets(settings: ReportSettings, panel: Panel, windows: Mapping[int, Sequence[Window]]) -> None:
    """Refuse assets that no test month has, before anything is fitted.

    Raises
    ------
    InputError
        Naming the first of them, and the nearest that is there.
    """
    if not settings.assets:
        return
    tested = set(map(str, set(panel.assets[rows_tested(panel, windows)].tolist())))
    for asset in map(str, settings.assets):
        if asset not in tested:
            near = difflib.get_close_matches(asset, tested, n=1) or [min(tested)]
            raise InputError(
                f"report.assets names {asset!r}, and no test month has that asset: write it as the data does, as in "
                f"{near[0]!r}, or leave it out"
            )
