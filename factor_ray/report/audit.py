"""What the look-ahead audit of a run has found, for the box "What looked ahead"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factor_ray.data.digests import digest
from factor_ray.report.contents import Contents

_AUDITED = ("preprocess", "target", "windows", "macro_state", "models", "search", "ensemble")


def audited_identity(experiment: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """Return the digest of all that an audit speaks of: sections of the configuration, and the files that were read."""
    return digest([{name: experiment[name] for name in _AUDITED}, dict(lineage)])


def audit_sentences(contents: Contents) -> tuple[list[str], list[str]]:
    """Return what the audit found, and what it lets the statement rest on that nothing was found."""
    audit = contents.audit
    if audit is None:
        return [], ["No look-ahead audit was made of this run: `factor-ray audit` makes one."]
    description = contents.description
    if audit["identity"] != audited_identity(description["experiment"], description["data"]["lineage"]):
        return [], ["The look-ahead audit is of other settings or files than this run's: make it again."]
    if audit["sentences"]:
        return [f"Audit: {sentence}" for sentence in audit["sentences"]], []
    months = ", ".join(audit["months"])
    return [], [
        f"The look-ahead audit passed: noise in everything dated after {months}, and its deletion, changed nothing "
        f"decided by then. Perturbed were: {audit['perturbed']}. Fits made again as proof: {len(audit['refitted'])}."
    ]
