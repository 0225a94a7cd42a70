"""The cell store: one file per fitted member, written atomically, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from factor_ray.data.digests import plain
from factor_ray.errors import WorkError
from factor_ray.models.base import Fit

_KEY = "factor_ray"


class CorruptCellError(WorkError):
    """A stored cell cannot be trusted: it is truncated, or its content does not match its checksum."""


@dataclass(frozen=True)
class CellStore:
    """Cells under one directory, named by the hash of what they depend on.

    A file is a safetensors file whose header holds scores, history and the cell's identity. It appears under its name
    only when it is complete, so that a killed writer leaves nothing behind that could be mistaken for a cell.
    """

    root: Path

    def path(self, name: str) -> Path:
        """Return where a cell of that name is, or would be."""
        return Path(self._file(name))

    def has(self, name: str) -> bool:
        """Whether a cell of that name was stored."""
        return self.path(name).is_file()

    def write(self, name: str, fit: Fit, identity: Mapping[str, Any]) -> None:
        """Store a fitted member.

        Raises
        ------
        WorkError
            If the disk is full or not writable; cells already stored are untouched.
        """
        weights = {key: np.ascontiguousarray(value) for key, value in fit.weights.items()}
        content = {
            "identity": identity,
            "scores": {key: _written(value) for key, value in fit.scores.items()},
            "history": {key: [_written(v) for v in values] for key, values in fit.history.items()},
            "status": fit.status,
            "seconds": fit.seconds,
        }
        header = json.dumps(content, default=plain)
        # One entry: safetensors writes several in an order of its own.
        metadata = {_KEY: f"{_checksum(header, weights)} {header}"}
        write_atomically(self.path(name), save(weights, metadata=metadata))

    def read(self, name: str) -> Fit:
        """Read a cell back.

        Raises
        ------
        CorruptCellError
            If the file is truncated or its content has changed since it was written.
        WorkError
            If it cannot be read at all.
        """
        try:
            return self._read(name)
        except FileNotFoundError as error:
            raise WorkError(f"cell {self.path(name)} cannot be read: it is not there; `resume` fits it") from error

    def _file(self, name: str) -> str:
        return f"{self.root}/{name[:2]}/{name}.safetensors"

    def _read(self, name: str) -> Fit:
        path = self._file(name)  # searches read thousands of cells: a Path would take longer than its file's header
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                raw = file.read()
            weights = dict(sorted(load(raw).items()))  # they come in another order each time
            checksum, _, header = _metadata(raw)[_KEY].partition(" ")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise WorkError(f"cell {path} cannot be read ({error}): mend its permissions or its disk") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CorruptCellError(f"cell {path} is truncated or not a cell; `resume` fits it again") from error
        if _checksum(header, weights) != checksum:
            raise CorruptCellError(f"cell {path} does not match its checksum; `resume` fits it again")
        content = json.loads(header)
        return Fit(
            weights=weights,
            scores={key: _read(value) for key, value in content["scores"].items()},
            history={key: [_read(v) for v in values] for key, values in content["history"].items()},
            status=content["status"],
            seconds=content["seconds"],
        )

    def find(self, name: str, warn: Callable[[str], None]) -> Fit | None:
        """Read a cell if it is there and sound; one that is corrupt is set aside, so that it is fitted again.

        ``warn`` is told what was set aside, and where to.
        """
        try:
            return self._read(name)
        except FileNotFoundError:
            return None
        except CorruptCellError as error:
            warn(f"{error}; the file was moved to {self.set_aside(name)}")
            return None

    def set_aside(self, name: str) -> Path:
        """Move an unreadable cell out of the way, keeping it for inspection; return its new place.

        Raises
        ------
        WorkError
            If the store cannot be written.
        """
        aside = self.root / "corrupt" / f"{name}.safetensors"
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            self.path(name).replace(aside)
        except OSError as error:
            raise WorkError(
                f"the corrupt cell {self.path(name)} cannot be moved to {aside} ({error.strerror}): remove it, or mend "
                "the directory's permissions"
            ) from error
        return aside

    def size(self) -> int:
        """Return the bytes that all cells take."""
        return sum(file.stat().st_size for file in self.root.rglob("*.safetensors")) if self.root.exists() else 0


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there complete or not at all, whatever happens meanwhile.

    Raises
    ------
    WorkError
        If the disk is full or not writable.
    """
    # On a shared disk another node's process may have this one's number.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise WorkError(
            f"{path} cannot be written ({error.strerror or error}): free space or mend its permissions, then start "
            "again; what was written before is kept"
        ) from error


def _metadata(raw: bytes) -> dict[str, str]:
    """Return what a safetensors file says beside its tensors: its length in eight bytes, then JSON."""
    length = int.from_bytes(raw[:8], "little")
    metadata: dict[str, str] = json.loads(raw[8 : 8 + length])["__metadata__"]
    return metadata


def _checksum(header: str, weights: Mapping[str, npt.NDArray[Any]]) -> str:
    hashed = hashlib.blake2b(header.encode(), digest_size=16)
    for key in sorted(weights):
        hashed.update(f"{key}{_type_name(weights[key].dtype)}{weights[key].shape}".encode())
        hashed.update(np.ascontiguousarray(weights[key]).tobytes())
    return hashed.hexdigest()


@cache
def _type_name(dtype: np.dtype[Any]) -> str:
    """Write a type as numpy does, which thinks about it each time."""
    return str(dtype)


def _written(value: float) -> float | str:
    """JSON has no infinity and no NaN."""
    return float(value) if math.isfinite(value) else str(float(value))


def _read(value: float | str) -> float:
    return float(value)
