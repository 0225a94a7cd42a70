"""What an audit found, kept beside the run as ``audit.json``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One place where the line looked ahead.

    Attributes
    ----------
    month : str
        What is dated after it was perturbed.
    change : "noise", "deletion" or "screen"
    stage, column, detail : str
        The first stage and column in which the runs part.
    """

    month: str
    change: str
    stage: str
    column: str
    detail: str

    def sentence(self) -> str:
        """Return the finding as one sentence."""
        if self.change == "screen":
            return f"{self.column} seems to know the future: {self.detail}."
        what = "Noise" if self.change == "noise" else "Deletion of what is dated"
        return f"{what} after {self.month} changes {self.stage}, {self.column}: {self.detail}."


@dataclass(frozen=True)
class Verdict:
    """The verdict of an audit.

    Attributes
    ----------
    findings : sequence of Finding
        Empty where nothing looked ahead.
    months : sequence of str
        The months t after which the data were perturbed.
    perturbed : str
        What was perturbed: copies of files, or the data as they were loaded.
    refitted : sequence of str
        Cells that were fitted again as proof.
    identity : str
        Digest of the settings and files that were audited.
    seconds : float
    """

    findings: Sequence[Finding]
    months: Sequence[str]
    perturbed: str
    refitted: Sequence[str]
    identity: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing looked ahead."""
        return not self.findings

    def to_json(self) -> bytes:
        """Return the content of ``audit.json``."""
        sentences = [found.sentence() for found in self.findings]
        return json.dumps(
            {"passed": self.passed, "sentences": sentences, **dataclasses.asdict(self)}, indent=1
        ).encode()

    def describe(self) -> str:
        """Return what the terminal shows."""
        about = f"perturbed after {', '.join(self.months)}: {self.perturbed}; {self.seconds:.0f} seconds"
        refits = f"refitted as proof: {'; '.join(self.refitted)}" if self.refitted else "nothing was refitted"
        if self.passed:
            return f"Nothing looked ahead.\n{about}\n{refits}"
        return "\n".join(["It looked ahead:", *(f"- {found.sentence()}" for found in self.findings), about, refits])
