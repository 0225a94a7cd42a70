from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from factor_ray.data.sources.table import table
from factor_ray.errors import InputError

ROWS = "month,asset,return,size\n" + "".join(
    f"2000-{m:02d},{asset},0.0{m},{m + asset / 2}\n" for asset in (1, 2) for m in range(1, 7)
)
ROLES = {"month": "month", "asset": "asset", "returns": "return", "characteristics": ("size",)}


def zipped(content: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("panel.csv", content)
    return memory.getvalue()


def test_a_packed_file_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text(ROWS)
    (tmp_path / "panel.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + ROWS.encode()))
    expected = table(tmp_path / "panel.csv", **ROLES).to_frame()
    pd.testing.assert_frame_equal(table(tmp_path / "panel.csv.gz", **ROLES).to_frame(), expected)
    (tmp_path / "panel.csv.gz").write_bytes(gzip.compress(ROWS.encode())[:-12])
    with pytest.raises(InputError, match=r"panel\.csv\.gz must be a comma-separated"):
        table(tmp_path / "panel.csv.gz", **ROLES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (ROWS.replace(",", ";").encode(), r"must be separated by commas; its first line is 'month;asset;return;size'"),
        (ROWS.replace(",", "\t").encode(), "must be separated by commas"),
        (ROWS.encode("utf-16"), "not UTF-8 text .*save it as CSV"),
        (ROWS.encode("utf-16-le"), "not UTF-8 text .*save it as CSV"),
        (ROWS.replace("size", "größe").encode("latin-1"), "UTF-8"),
        (zipped(ROWS.encode()), "archive or a workbook: unpack it"),
        (gzip.compress(ROWS.encode()), "archive or a workbook: unpack it"),
        (
            ROWS.replace("2000-06,2", ",2").encode(),
            "column 'month' must hold a month in every row; row 12 below the header is empty",
        ),
        (ROWS.replace("2000-06", "2000Q2").encode(), "column 'month' must hold months"),
        ((ROWS + "2000-06,2,0.01,9\n").encode(), "asset 2 occurs twice in 2000-06"),
        (ROWS[:-6].encode(), "must be a comma-separated"),
        (ROWS.replace(",0.0", ",").encode(), "divide it by 100|percent"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_file_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "panel.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        table(path, **ROLES)
    assert "panel.csv" in str(caught.value)


def test_other_endings_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.parquet or \.csv"):
        table(tmp_path / "panel.xlsx", **ROLES)
    with pytest.raises(InputError, match=r"panel\.csv must be a file; there is none"):
        table(tmp_path / "panel.csv", **ROLES)
