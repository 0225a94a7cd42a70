"""What a job's log says while fits go on: how far they are, and how long the rest takes at this pace."""

from __future__ import annotations

import pytest

from factor_ray import console


def test_a_log_says_how_far_fits_are_and_the_pace_that_it_counts_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 5.0, 20.0, 60.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.Console().progress("fitting", 120) as advance:
        for done, left in ((20, None), (30, 100.0), (40, 80.4), (120, 0.0)):  # within ten seconds nothing is said
            advance(done, left)
    assert capsys.readouterr().err.splitlines() == [
        "fitting: 20 of at most 120 cells",
        "fitting: 40 of at most 120 cells, about 0:01:20 left at this pace",
        "fitting: 120 of at most 120 cells",
    ]
