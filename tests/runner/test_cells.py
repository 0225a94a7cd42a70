"""The cell store: what is there is whole, what is broken is known to be, and a full disk loses nothing."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import WorkError
from factor_ray.models.base import Fit
from factor_ray.runner import cells
from factor_ray.runner.cells import CellStore, CorruptCellError, write_atomically

NAME = "ab" + "0" * 30
FIT = Fit(
    weights={"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([0.5], dtype=np.float32)},
    scores={"selection": 0.75, "return_loss": 1e-3},
    history={"train_loss": [1.0, 0.5], "validation_loss": [2.0, math.nan]},
    seconds=1.5,
)
IDENTITY = {"model": "m", "member": 0}


def same(first: Fit, second: Fit) -> bool:
    def numbers(values):
        return [str(float(value)) for value in values]

    return (
        first.weights.keys() == second.weights.keys()
        and all(np.array_equal(first.weights[k], second.weights[k], equal_nan=True) for k in first.weights)
        and all(first.weights[k].dtype == second.weights[k].dtype for k in first.weights)
        and list(first.scores) == list(second.scores)
        and numbers(first.scores.values()) == numbers(second.scores.values())
        and {k: numbers(v) for k, v in first.history.items()} == {k: numbers(v) for k, v in second.history.items()}
        and (first.status, first.seconds) == (second.status, second.seconds)
    )


@pytest.fixture
def store(tmp_path):
    found = CellStore(tmp_path / "cells")
    found.write(NAME, FIT, IDENTITY)
    return found


def test_a_cell_comes_back_as_it_was(store):
    assert store.has(NAME)
    assert same(store.read(NAME), FIT)
    assert store.size() == store.path(NAME).stat().st_size
    assert [file.name for file in store.path(NAME).parent.iterdir()] == [f"{NAME}.safetensors"]


def test_weights_come_in_one_order_whatever_the_file_gives(store):
    names = [f"weight_{k}" for k in range(8)]
    store.write(NAME, Fit({name: np.zeros(1) for name in names[::-1]}, {}), IDENTITY)
    assert list(store.read(NAME).weights) == names


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.floats(), max_size=4),
    st.dictionaries(st.text(max_size=8), st.lists(st.floats(), max_size=5), max_size=3),
)
def test_every_score_comes_back_infinite_and_nan_too(tmp_path_factory, scores, history):
    store = CellStore(tmp_path_factory.mktemp("cells"))
    fit = Fit({"w": np.array([np.nan, np.inf, 1], dtype=np.float32)}, scores, history, "diverged")
    store.write(NAME, fit, IDENTITY)
    assert same(store.read(NAME), fit)


def test_the_same_fit_is_the_same_bytes(tmp_path):
    files = []
    for k in range(8):
        store = CellStore(tmp_path / str(k))
        store.write(NAME, FIT, IDENTITY)
        files.append(store.path(NAME).read_bytes())
    assert len(set(files)) == 1


def test_a_diverged_cell_without_weights(tmp_path):
    store = CellStore(tmp_path)
    fit = Fit({}, {"selection": math.inf}, status="diverged")
    store.write(NAME, fit, IDENTITY)
    assert same(store.read(NAME), fit)


def test_numpy_scores_and_views_of_weights_are_written_as_they_are(tmp_path):
    store = CellStore(tmp_path)
    block = np.arange(12, dtype=np.float32).reshape(3, 4)
    store.write(NAME, Fit({"w": block[:, ::2]}, {"selection": np.float32(0.5)}), {"member": np.int64(3)})
    assert np.array_equal(store.read(NAME).weights["w"], block[:, ::2])


def test_what_is_not_there(tmp_path):
    store = CellStore(tmp_path / "none")
    assert not store.has(NAME)
    assert store.size() == 0
    assert store.find(NAME, warn=pytest.fail) is None
    with pytest.raises(WorkError, match="cannot be read"):
        store.read(NAME)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 40, 0.5, -1])
def test_a_truncated_cell_is_known_for_one(store, kept):
    whole = store.path(NAME).read_bytes()
    store.path(NAME).write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(CorruptCellError, match="is truncated or not a cell; `resume` fits it again"):
        store.read(NAME)


def test_a_flipped_bit_anywhere_is_noticed(store):
    whole = store.path(NAME).read_bytes()
    for position in range(len(whole)):
        for bit in (0, 3, 6):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            store.path(NAME).write_bytes(flipped)
            with pytest.raises(CorruptCellError):
                store.read(NAME)


@pytest.mark.parametrize("content", [b"", b"not a cell", b"\x00" * 64, b"{}" * 40])
def test_a_file_that_never_was_a_cell(store, content):
    store.path(NAME).write_bytes(content)
    with pytest.raises(CorruptCellError):
        store.read(NAME)


def test_a_safetensors_file_of_somebody_else(store):
    from safetensors.numpy import save

    for metadata in (None, {"other": "x"}, {"factor_ray": "{}"}, {"factor_ray": "0 {}"}):
        store.path(NAME).write_bytes(save({"w": np.zeros(2, dtype=np.float32)}, metadata=metadata))
        with pytest.raises(CorruptCellError):
            store.read(NAME)


def test_a_corrupt_cell_is_set_aside_and_told(store):
    store.path(NAME).write_bytes(b"broken")
    told: list[str] = []
    assert store.find(NAME, told.append) is None
    assert not store.has(NAME)
    assert (store.root / "corrupt" / f"{NAME}.safetensors").read_bytes() == b"broken"
    assert len(told) == 1
    assert str(store.root / "corrupt") in told[0]
    store.write(NAME, FIT, IDENTITY)
    found = store.find(NAME, pytest.fail)
    assert found is not None
    assert same(found, FIT)


def test_a_sound_cell_is_found_without_a_word(store):
    found = store.find(NAME, pytest.fail)
    assert found is not None
    assert same(found, FIT)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from factor_ray.models.base import Fit
from factor_ray.runner.cells import CellStore

store, k = CellStore(Path(sys.argv[1])), 0
weights = {"w": np.ones(250_000, dtype=np.float32)}
while True:
    store.write(f"{k % 50:032x}", Fit(weights, {"selection": float(k % 50)}), {})
    k += 1
    if k == 1:
        print("ready", flush=True)
"""


def test_a_killed_writer_leaves_nothing_that_could_be_taken_for_a_cell(tmp_path):
    store = CellStore(tmp_path)
    for delay in (0.02, 0.05, 0.11):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        stored = [file.stem for file in tmp_path.rglob("*.safetensors")]
        assert stored
        for name in stored:
            assert store.read(name).scores["selection"] == int(name, 16)


def test_leftovers_of_a_killed_writer_are_harmless(store):
    partial = store.path(NAME).parent / f".{NAME}.safetensors.1234-abcd.partial"
    partial.write_bytes(b"half")
    size = store.size()
    store.write(NAME, FIT, IDENTITY)
    assert same(store.read(NAME), FIT)
    assert store.size() == size
    other = "ab" + "1" * 30
    partial.rename(store.path(other).with_name(f".{other}.safetensors.1-a.partial"))
    assert not store.has(other)


def full_disk(monkeypatch, after: int) -> None:
    """Let writes fail as they do where the disk has room for some bytes only."""
    real = Path.open

    def opened(self, mode="r", *arguments, **keywords):
        file = real(self, mode, *arguments, **keywords)
        if "w" not in mode:
            return file
        write = file.write

        def limited(content):
            write(content[:after])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        class Limited:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

        found = Limited()
        found.write = limited
        return found

    monkeypatch.setattr(Path, "open", opened)


def test_a_full_disk_is_one_sentence_and_loses_nothing(store, monkeypatch):
    before = store.path(NAME).read_bytes()
    with monkeypatch.context() as patched:
        full_disk(patched, after=10)
        for name in (NAME, "cd" + "0" * 30):
            with pytest.raises(WorkError, match=r"cannot be written \(No space left on device\): free space or mend"):
                store.write(name, Fit({}, {"selection": 0.0}), IDENTITY)
    assert store.path(NAME).read_bytes() == before
    assert [file.name for file in store.root.rglob("*") if file.is_file()] == [f"{NAME}.safetensors"]


def test_a_full_disk_where_even_the_clean_up_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
    full_disk(monkeypatch, after=1)
    with pytest.raises(
        WorkError,
        match=r"/file cannot be written \(No space left on device\): free space or mend its permissions, then start "
        "again; what was written before is kept$",
    ):
        write_atomically(tmp_path / "file", b"content")


def test_a_disk_that_cannot_sync(store, monkeypatch):
    before = store.path(NAME).read_bytes()

    def failing(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(cells.os, "fsync", failing)
    with pytest.raises(WorkError, match="Input/output error"):
        store.write(NAME, Fit({}, {"selection": 0.0}), IDENTITY)
    assert store.path(NAME).read_bytes() == before


def test_a_directory_that_may_not_be_written(tmp_path, monkeypatch):
    def refused(self, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    store = CellStore(tmp_path / "cells")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refused)
        with pytest.raises(
            WorkError, match=r"cannot be written \(Permission denied\): free space or mend its permissions"
        ):
            store.write(NAME, FIT, IDENTITY)
    store.write(NAME, FIT, IDENTITY)
    store.path(NAME).write_bytes(b"broken")
    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(WorkError, match=r"the corrupt cell .* cannot be moved to .* \(Permission denied\): remove it"):
        store.find(NAME, pytest.fail)
    assert store.path(NAME).read_bytes() == b"broken"


def test_a_file_where_a_directory_should_be(tmp_path):
    (tmp_path / "cells").write_text("not a directory")
    with pytest.raises(WorkError, match="cannot be written"):
        CellStore(tmp_path / "cells").write(NAME, FIT, IDENTITY)


def test_a_header_is_plain_json_with_the_identity(store):
    from safetensors import safe_open

    with safe_open(store.path(NAME), framework="np") as file:
        header = file.metadata()["factor_ray"].partition(" ")[2]
    content = json.loads(header, parse_constant=pytest.fail)
    assert content["identity"] == IDENTITY
    assert content["history"]["validation_loss"] == [2.0, "nan"]
