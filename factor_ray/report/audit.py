"""What the look-ahead audit of a run has found, for the box "What looked ahead"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from factor_ray.data.digests import digest
from factor_ray.data.settings import AnyFileData, AnySimulatedData, DataSettings
from factor_ray.report.contents import Contents

_AUDITED = ("preprocess", "target", "windows", "macro_state", "models", "search", "ensemble")


def audited_identity(experiment: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """Return the digest of all that an audit speaks of: sections of the configuration, and the files that were read.

    Where the files lie does not count: a run that was moved keeps its audit.
    """
    data = _without_folders(TypeAdapter(DataSettings).validate_python(experiment["data"]))
    return digest([{"data": data, **{name: experiment[name] for name in _AUDITED}}, dict(lineage)])


def _without_folders(data: AnySimulatedData | AnyFileData) -> dict[str, Any]:
    if isinstance(data, AnySimulatedData):
        return data.model_dump(mode="json")
    # A run's description names what its links led to.
    return data.with_paths(lambda path: Path(path).resolve().name)


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
