"""Reading: plain YAML with line numbers, safe whatever a file holds, and overrides of every form."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factor_ray.configuration import parse, read
from factor_ray.errors import InputError

TEXT = """\
name: x
data: {source: table, columns: {characteristics: [size, value]}}
windows:
  first_train_end: 2010-12
models:
  - name: cbapm
    consensus_weight: [0.0, 1e-4]
"""


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "run.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_values_are_plain_and_every_key_has_its_line():
    configuration = parse(TEXT, "run.yaml")
    assert configuration.values["models"] == [{"name": "cbapm", "consensus_weight": [0.0, 1e-4]}]
    assert configuration.values["windows"] == {"first_train_end": "2010-12"}
    assert configuration.where(("name",)) == "run.yaml, line 1"
    assert configuration.where(("data", "columns", "characteristics", 1)) == "run.yaml, line 2"
    assert configuration.where(("models", 0, "consensus_weight")) == "run.yaml, line 7"


def test_a_key_that_was_not_written_stands_where_the_nearest_one_above_it_does():
    configuration = parse(TEXT, "run.yaml")
    assert configuration.where(("windows", "test")) == "run.yaml, line 3"
    assert configuration.where(("search", "points")) == "run.yaml"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        ("-.5e+2", -50.0),
        ("2.e1", 20.0),
        (".inf", float("inf")),
        ("e4", "e4"),
        ("1e", "1e"),
    ],
)
def test_numbers_are_read_as_people_write_them(written, value):
    assert parse(f"x: {written}", "f").values == {"x": value}


def test_dates_stay_text_and_keys_are_text():
    assert parse("a: 2010-12-31\nb: 2010-12\non: 1\n12: {3: 4}\nnull: 5", "f").values == {
        "a": "2010-12-31",
        "b": "2010-12",
        "on": 1,
        "12": {"3": 4},
        "null": 5,
    }


def test_anchors_and_merge_keys_work_and_an_alias_has_its_own_line():
    configuration = parse("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n", "f")
    assert configuration.values == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert configuration.where(("a", "x")) == "f, line 1"
    assert configuration.where(("b", "x")) == "f, line 2"
    assert configuration.where(("c", "x")) == "f, line 5"


def test_an_alias_that_holds_itself_ends():
    configuration = parse("a: &a [1, *a]\nb: 2", "f")
    assert configuration.where(("b",)) == "f, line 2"


def test_aliases_of_aliases_cost_no_more_than_they_are_long():
    levels = [f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 60)]
    configuration = parse("\n".join(["l0: &l0 [x]", *levels]), "f")
    assert configuration.where(("l59",)) == "f, line 60"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "{file} is empty: a configuration needs at least name, data, windows and models"),
        ("# nothing\n", "{file} is empty: a configuration needs at least name, data, windows and models"),
        ("- a\n- b\n", "{file} must be a YAML mapping of keys to values; got list"),
        ("just words\n", "{file} must be a YAML mapping of keys to values; got str"),
        ("a: 1\nb: [1, 2\nc: 3\n", "{file}, line 3: not a plain YAML file (expected ',' or ']', but got ':')"),
        (
            "a:\n\tb: 1\n",
            "{file}, line 2: not a plain YAML file (a tab stands where YAML wants spaces: replace tabs by spaces)",
        ),
        ("a: 1\nb: @x\n", "{file}, line 2: not a plain YAML file (found character '@' that cannot start any token)"),
        ("a: 1\nb: \x07\n", "{file}, line 2: not a plain YAML file (special characters are not allowed)"),
        ("a: 1\nb: *c\n", "{file}, line 2: not a plain YAML file (found undefined alias 'c')"),
        ("a: 1\n---\nb: 2\n", "{file}, line 2: not a plain YAML file (but found another document)"),
        ("a: 1\nb: 2\na: 3\n", "{file}, line 3: a is given twice: keep one"),
        ("a:\n  b: {c: 1, c: 2}\n", "{file}, line 2: a.b.c is given twice: keep one"),
        ("a: !!timestamp 2010-99-99\n", "{file}: not a plain YAML file ("),
        ("{[a, b]: 1}\n", "{file}, line 1: not a plain YAML file (found unhashable key)"),
        ("name: Zürich\n".encode("latin-1"), "{file} cannot be read as a UTF-8 text file ("),
        ("name: x\n".encode("utf-16"), "{file} cannot be read as a UTF-8 text file ("),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_sentence(tmp_path, content, sentence):
    file = write(tmp_path, content)
    with pytest.raises(InputError) as refused:
        read(file)
    said = str(refused.value)
    assert said.startswith(sentence.format(file=file))
    assert "\n" not in said


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system", "!include"],
)
def test_no_tag_builds_objects(tmp_path, tag):
    marker = tmp_path / "marker"
    file = write(tmp_path, f"name: x\ndata: {tag} ['touch {marker}']\n")
    with pytest.raises(InputError, match=r"line 2: not a plain YAML file \(the tag .* is not allowed: write plain"):
        read(file)
    assert not marker.exists()


def test_a_file_that_is_not_there_and_a_directory(tmp_path):
    with pytest.raises(InputError, match=r"there is no configuration .*none.yaml: check the path \(it is taken from"):
        read(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read as a UTF-8 text file"):
        read(tmp_path)


def test_a_byte_order_mark_is_no_error(tmp_path):
    assert read(write(tmp_path, b"\xef\xbb\xbfname: x\n")).values == {"name": "x"}


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("name=y", ("name",), "y"),
        ("data.path=a=b.parquet", ("data", "path"), "a=b.parquet"),
        ("data.columns.characteristics.1=beta", ("data", "columns", "characteristics", 1), "beta"),
        ("models.0.consensus_weight=[0, 1e-3]", ("models", 0, "consensus_weight"), [0, 1e-3]),
        ("models.0.search.dropout.uniform=[0.1, 0.2]", ("models", 0, "search", "dropout", "uniform"), [0.1, 0.2]),
        ("search={points: 3}", ("search",), {"points": 3}),
        ("search.points=3", ("search", "points"), 3),
        ("data.macro=null", ("data", "macro"), None),
        ("name=", ("name",), None),
        ("search.1=2", ("search", "1"), 2),
        ("windows.first_train_end=2012-06", ("windows", "first_train_end"), "2012-06"),
    ],
)
def test_overrides_set_what_they_name_and_messages_name_them(tmp_path, override, path, value):
    configuration = read(write(tmp_path, TEXT), [override])
    at = configuration.values
    for key in path:
        at = at[key]
    assert at == value
    assert configuration.where(path) == f"--set {override.partition('=')[0]}"
    assert configuration.where((*path, "below")) == f"--set {override.partition('=')[0]}"


def test_an_override_leaves_all_else_and_its_lines(tmp_path):
    file = write(tmp_path, TEXT)
    configuration = read(file, ["models.0.consensus_weight=0.5", "windows.test=6"])
    assert configuration.values["models"] == [{"name": "cbapm", "consensus_weight": 0.5}]
    assert configuration.values["windows"] == {"first_train_end": "2010-12", "test": 6}
    assert configuration.where(("models", 0, "name")) == f"{file}, line 6"


def test_of_two_overrides_the_later_one_holds(tmp_path):
    configuration = read(write(tmp_path, TEXT), ["search.points=3", "search={round: 2}", "name=a", "name=b"])
    assert configuration.values["search"] == {"round": 2}
    assert configuration.values["name"] == "b"
    assert configuration.where(("search", "points")) == "--set search"


def test_an_override_does_not_reach_through_an_alias(tmp_path):
    file = write(tmp_path, "a: &a {x: {y: 1}}\nb: *a\n")
    assert read(file, ["b.x.y=2"]).values == {"a": {"x": {"y": 1}}, "b": {"x": {"y": 2}}}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("name", "--set must have the form key.sub=value; got 'name'"),
        ("=1", "--set must have the form key.sub=value; got '=1'"),
        ("a..b=1", "--set must have the form key.sub=value; got 'a..b=1'"),
        ("name.sub=1", "--set name.sub: name is a single value and has no keys"),
        ("name.sub.deeper=1", "--set name.sub.deeper: name is a single value and has no keys"),
        ("models.1.name=x", "--set models.1.name: models is a list of 1; '1' must be a position below that"),
        ("models.first=x", "--set models.first: models is a list of 1; 'first' must be a position below that"),
        ("models.-1=x", "--set models.-1: models is a list of 1; '-1' must be a position below that"),
        ("models.²=x", "--set models.²: models is a list of 1; '²' must be a position below that"),
        ("name=[1, 2", "--set name, line 1: not a plain YAML file ("),
        ("name=!!python/name:os.system", "--set name, line 1: not a plain YAML file (the tag"),
    ],
)
def test_overrides_of_another_form_are_refused(tmp_path, override, sentence):
    with pytest.raises(InputError, match="^" + re.escape(sentence)):
        read(write(tmp_path, TEXT), [override])


@given(st.text(max_size=60))
def test_no_text_ends_otherwise_than_in_values_or_one_sentence(text):
    try:
        said = f"f {parse(text, 'f').values}"
    except InputError as refused:
        said = str(refused)
    assert said.startswith("f")
