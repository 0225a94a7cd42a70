"""What a run says while it works: stages and a progress bar on the terminal, plain lines in a job's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


class Console:
    """Speaks on standard error, so that standard output holds results only."""

    def __init__(self) -> None:
        self._rich = RichConsole(stderr=True, highlight=False)

    def stage(self, what: str) -> None:
        """Say which stage has begun."""
        self._rich.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {what}", soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Say what was out of the ordinary and how it was mended."""
        self._rich.print(f"[yellow]warning:[/yellow] {sentence}", soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how many of ``total`` cells are done and how long the rest takes if its cells cost what these did.

        Models differ in that, and those that come later may be the dearer ones.
        """
        if not sys.stderr.isatty():
            yield self._lines(what, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            TextColumn("left at this pace"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._rich) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)

    def _lines(self, what: str, total: int) -> Callable[[int], None]:
        started, last = time.monotonic(), -_SECONDS_BETWEEN_LINES
        first: int | None = None

        def advance(done: int) -> None:
            nonlocal last, first
            now = time.monotonic()
            first = done if first is None else first
            if now - last < _SECONDS_BETWEEN_LINES and done < total:
                return
            last = now
            left = (now - started) / (done - first) * (total - done) if done > first else None
            estimate = "" if left is None or done >= total else f", about {left:.0f} s left at this pace"
            self._rich.print(f"{what}: {done} of at most {total} cells{estimate}")

        return advance
