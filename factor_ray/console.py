"""What a run says while it works: stages and a progress bar on the terminal, plain lines in a job's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
    def progress(self, what: str, total: int) -> Iterator[Callable[[int, float | None], None]]:
        """Show how many of ``total`` cells are done and, where it is known, about how many seconds are left."""
        if not sys.stderr.isatty():
            yield self._lines(what, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._rich) as bar:
            task = bar.add_task(what, total=total, left="")
            yield lambda done, left: bar.update(task, completed=done, left=_left(left))

    def _lines(self, what: str, total: int) -> Callable[[int, float | None], None]:
        last = -_SECONDS_BETWEEN_LINES

        def advance(done: int, left: float | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < _SECONDS_BETWEEN_LINES and done < total:
                return
            last = now
            parts = [f"{what}: {done} of at most {total} cells", _left(left)]
            self._rich.print(", ".join(filter(None, parts)))

        return advance


def _left(seconds: float | None) -> str:
    return f"about {timedelta(seconds=round(seconds))} left at this pace" if seconds else ""
