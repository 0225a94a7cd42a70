"""A panel's table from files: the bytes of the frame, and a sentence for every file that cannot be used."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from panel_frames import FIRST, ROLES, all_bytes, draw_frame, small

from factor_ray.data.panel import Panel
from factor_ray.errors import InputError


def test_files_and_frames_give_the_same_bytes(tmp_path):
    frame = draw_frame(1)
    shuffled = frame.sample(frac=1, random_state=1).assign(unused="x")
    shuffled.to_parquet(tmp_path / "panel.parquet", index=False)
    shuffled.to_csv(tmp_path / "panel.csv", index=False)
    shuffled.to_csv(tmp_path / "marked.csv", index=False, encoding="utf-8-sig")
    expected = all_bytes(Panel.from_frame(frame, **ROLES))
    assert all_bytes(Panel.from_parquet(tmp_path / "panel.parquet", **ROLES)) == expected
    assert all_bytes(Panel.from_csv(str(tmp_path / "panel.csv"), **ROLES)) == expected
    assert all_bytes(Panel.from_csv(tmp_path / "marked.csv", **ROLES)) == expected


def test_dates_of_arrow_files_are_read(tmp_path):
    frame = small(date=[datetime.date(2001, 11, 30)] * 2 + [datetime.date(2001, 12, 31)] * 2)
    pa_parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "dates.parquet")
    assert Panel.from_parquet(tmp_path / "dates.parquet", **ROLES).months.tolist() == [FIRST, FIRST + 1]


def test_files_that_cannot_be_used_are_named(tmp_path):
    absent = tmp_path / "absent.parquet"
    for build in (Panel.from_parquet, Panel.from_csv):
        with pytest.raises(InputError, match=r"absent\.parquet must be a file; there is none"):
            build(absent, **ROLES)
        with pytest.raises(InputError, match="must be a file"):
            build(tmp_path, **ROLES)
    text = tmp_path / "text.parquet"
    text.write_text("date,permno\n2001-11,1\n")
    with pytest.raises(InputError, match=r"text\.parquet must be a Parquet file"):
        Panel.from_parquet(text, **ROLES)
    other = tmp_path / "other.parquet"
    small().rename(columns={"feps": "FEPS"}).to_parquet(other)
    with pytest.raises(InputError, match=r"other\.parquet must have a column 'feps'; did you mean 'FEPS'"):
        Panel.from_parquet(other, **ROLES)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "file.csv is empty"),
        (b"date,permno,ret,rf,cap,size,momentum,feps\n", "file.csv has no rows"),
        (b"date,permno,ret,rf,cap,size,momentum,feps\n2001-11,1,.1\n", "must be a comma-separated UTF-8 file"),
        (b"date,permno,ret,rf,cap,size,momentum,feps,size\n2001-11,1,.1,0,1,1,1,1,1\n", "two columns 'size'"),
        (b"date;permno;ret\n2001-11;1;.1\n", "must have a column 'date'"),
        (b"date,permno,ret,rf,cap,size,momentum,feps\n2001-11,\xff\xfe,.1,0,1,1,1,1\n", "UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_used_are_named(tmp_path, content, named):
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.csv") as caught:
        Panel.from_csv(file, **ROLES)
    assert named in str(caught.value)


def test_a_csv_column_that_is_not_utf8_far_into_the_file_is_named(tmp_path):
    file = tmp_path / "file.csv"
    row = b"2001-11,%d,.1,0,1,1,1,1\n"
    rows = b"".join(row % number for number in range(2000))
    file.write_bytes(b"date,permno,ret,rf,cap,size,momentum,feps\n" + rows + b"2001-11,\xff,.1,0,1,1,1,1\n")
    with pytest.raises(InputError, match="column 'permno' is not: save the file as UTF-8"):
        Panel.from_csv(file, **ROLES)


@pytest.mark.parametrize("role", ["characteristics", "consensus"])
def test_a_bare_name_is_not_taken_for_a_list_of_letters(tmp_path, role):
    frame, file = small(), tmp_path / "panel.parquet"
    frame.to_parquet(file)
    roles = {**ROLES, role: "size"}
    for build in (lambda: Panel.from_frame(frame, **roles), lambda: Panel.from_parquet(file, **roles)):
        with pytest.raises(InputError, match=rf"{role} must be a list of columns' names; got the single text 'size'"):
            build()
