from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from factor_ray.data.months import parse_month
from factor_ray.data.panel import Panel
from factor_ray.data.sources.openap import openap
from factor_ray.errors import InputError

MONTHS = pd.period_range("2000-01", periods=6, freq="M")
FIRMS = (10001, 10002, 10003)
RATES = "prose\n\n,Mkt-RF,RF\n" + "".join(f"{m:%Y%m},{1.5 - i},{0.1 * (i + 1):.2f}\n" for i, m in enumerate(MONTHS))


def signals() -> pd.DataFrame:
    rows = [(firm, int(f"{m:%Y%m}")) for firm in FIRMS for m in MONTHS]
    frame = pd.DataFrame(rows, columns=["permno", "yyyymm"])
    value = np.arange(float(len(frame)))
    return frame.assign(AM=value, zerotrade6M=-value, AssetGrowth=value**2, FEPS=np.where(value % 4, value, np.nan))


def crsp() -> pd.DataFrame:
    rows = [(firm, m.end_time.date().isoformat()) for firm in FIRMS for m in MONTHS]
    frame = pd.DataFrame(rows, columns=["permno", "date"])
    frame["ret"] = [f"{0.01 * i}" for i in range(len(frame))]
    frame["dlret"], frame["prc"], frame["shrout"] = "", 10.0, 200
    frame["exchcd"], frame["shrcd"] = 1, 11
    return frame


def write(folder: Path, wide: pd.DataFrame, returns: pd.DataFrame) -> None:
    wide.to_csv(folder / "signals.csv", index=False)
    returns.to_csv(folder / "crsp.csv", index=False)
    (folder / "french.csv").write_text(RATES)


def read(folder: Path, signals_: str = "signals.csv", **changed: object) -> Panel:
    chosen = {
        "risk_free": folder / "french.csv",
        "characteristics": ["AM", "zerotrade", "AssetGrowth"],
        "consensus": ["FEPS"],
    }
    return openap(folder / signals_, folder / "crsp.csv", **(chosen | changed))  # type: ignore[arg-type]


def same(ours: Panel, theirs: Panel) -> None:
    pd.testing.assert_frame_equal(ours.to_frame(), theirs.to_frame())


def written(panel: Panel) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, panel.table.schema) as stream:
        stream.write_table(panel.table)
    return bytes(sink.getvalue().to_pybytes())


def test_known_values_roles_and_marks(tmp_path: Path) -> None:
    returns = crsp()
    returns.loc[0, "ret"], returns.loc[1, "prc"], returns.loc[2, "prc"] = "C", -12.5, 0.0
    returns.loc[11, ["ret", "dlret"]] = ["0.5", "-0.3"]
    returns.loc[17, ["ret", "dlret"]] = ["B", "-0.25"]
    returns.loc[16, ["ret", "dlret"]] = ["-66.0", "S"]
    write(tmp_path, signals(), returns)
    panel = read(tmp_path)
    frame = panel.to_frame().set_index(["asset", "month"]).sort_index()
    first = frame.loc[10001]
    assert np.isnan(first["return"].iloc[0])
    assert first["price"].tolist()[:2] == [10.0, 12.5]
    assert np.isnan(first["price"].iloc[2])
    assert first["market_cap"].tolist()[:2] == [2000.0, 2500.0]
    np.testing.assert_allclose(first["risk_free"], 0.001 * np.arange(1, 7), rtol=1e-6)
    assert frame.loc[10002]["return"].iloc[5] == pytest.approx(1.5 * 0.7 - 1)
    assert frame.loc[10003]["return"].iloc[5] == pytest.approx(-0.25)
    assert np.isnan(frame.loc[10003]["return"].iloc[4])
    assert first["zerotrade"].tolist() == [0.0, -1.0, -2.0, -3.0, -4.0, -5.0]
    assert set(panel.labels("exchange")) == {"1"}
    assert set(panel.labels("share_code")) == {"11"}
    assert dict(panel.frequency) == {"AM": "monthly", "zerotrade": "monthly", "AssetGrowth": "annual", "FEPS": "annual"}
    assert panel.growth == ("AssetGrowth",)
    assert panel.notes == ("2 delisting returns were merged into the returns of crsp.csv.",)


def test_every_layout_gives_the_same_panel(tmp_path: Path) -> None:
    wide = signals()
    write(tmp_path, wide, crsp())
    expected = read(tmp_path)
    wide.to_parquet(tmp_path / "signals.parquet")
    wide.to_csv(tmp_path / "semicolons.csv", index=False, sep=";", na_rep="NA")
    wide.assign(permno=wide["permno"].astype(float)).to_csv(tmp_path / "floats.csv", index=False)
    wide.rename(columns={"permno": "PERMNO", "zerotrade6M": "zerotrade"}).to_csv(tmp_path / "older.csv", index=False)
    (tmp_path / "utf16.csv").write_text((tmp_path / "signals.csv").read_text(), encoding="utf-16")
    (tmp_path / "windows.csv").write_bytes(
        b"\xef\xbb\xbf" + (tmp_path / "signals.csv").read_bytes().replace(b"\n", b"\r\n")
    )
    with zipfile.ZipFile(tmp_path / "signals.zip", "w") as archive:
        archive.write(tmp_path / "signals.csv", "signed_predictors_dl_wide.csv")
    folder = tmp_path / "predictors"
    folder.mkdir()
    for name in wide.columns[2:]:
        wide[["permno", "yyyymm", name]].dropna().to_csv(folder / f"{name}.csv", index=False)
    others = ["signals.parquet", "semicolons.csv", "floats.csv", "older.csv", "utf16.csv", "windows.csv", "signals.zip"]
    for name in [*others, "predictors"]:
        same(read(tmp_path, name), expected)


def test_shuffled_rows_and_permuted_months_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path, signals(), crsp())
    expected = read(tmp_path)
    order = np.random.default_rng(0).permutation(len(signals()))
    write(tmp_path, signals().iloc[order], crsp().iloc[order[::-1]])
    assert written(read(tmp_path)) == written(expected)


def test_start_and_end(tmp_path: Path) -> None:
    write(tmp_path, signals(), crsp())
    panel = read(tmp_path, start="2000-02", end="2000-04")
    assert panel.months.tolist() == [parse_month(f"2000-0{m}") for m in (2, 3, 4)]
    same(panel, read(tmp_path).between(parse_month("2000-02"), parse_month("2000-04")))
    with pytest.raises(InputError, match=r"signals\.csv has no row of the months that are asked for"):
        read(tmp_path, start="2010-01")


def test_returns_after_the_last_signals_are_kept_and_firms_without_returns_are_not(tmp_path: Path) -> None:
    wide, returns = signals(), crsp()
    wide = wide[~((wide["permno"] == 10001) & wide["yyyymm"].isin([200001, 200006]))]
    write(tmp_path, wide, returns[returns["permno"] != 10003])
    panel = read(tmp_path)
    frame = panel.to_frame()
    first = frame[frame["asset"] == 10001]
    assert len(first) == 5  # the month before its first signals is not there, the one after its last is
    assert np.isnan(first["AM"].iloc[-1])
    assert first["return"].iloc[-1] == pytest.approx(0.05)
    assert set(frame["asset"]) == {10001, 10002}
    assert "6 rows of 1 firms without any CRSP return were left out." in panel.notes


@pytest.mark.parametrize(("folder", "sign"), [(False, -1.0), (True, 1.0)])
def test_what_may_not_be_distributed_is_made_from_crsp(tmp_path: Path, folder: bool, sign: float) -> None:
    returns = crsp().assign(prc=[-5.0, *np.arange(6.0, 23.0)])
    write(tmp_path, signals(), returns)
    name = "signals.csv"
    if folder:
        name = "predictors"
        (tmp_path / name).mkdir()
        signals()[["permno", "yyyymm", "AM"]].to_csv(tmp_path / name / "AM.csv", index=False)
    panel = read(tmp_path, name, characteristics=["AM", "Price", "Size", "STreversal"], consensus=[])
    frame = panel.to_frame().sort_values(["asset", "month"])
    np.testing.assert_allclose(frame["Price"], sign * np.log(np.abs(returns["prc"])), rtol=1e-6)
    np.testing.assert_allclose(frame["Size"], sign * np.log(np.abs(returns["prc"]) * 0.2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(frame["STreversal"], sign * frame["return"], rtol=1e-6)
    assert (
        f"Price, Size, STreversal were made from CRSP's prices, shares and returns: {name} lacks them." in panel.notes
    )


def test_all_signals_and_frequencies_by_signal_doc(tmp_path: Path) -> None:
    write(
        tmp_path,
        signals().assign(Extra=signals()["AM"] * 2, Flow=1 / (1 + signals()["AM"])),
        crsp().assign(prc=np.arange(1.0, 19.0)),
    )
    doc = "Acronym,Cat.Signal,Cat.Data\nExtra,Predictor,Trading\nFlow,Placebo,Accounting\nGone,Drop,Price\n"
    (tmp_path / "SignalDoc.csv").write_text(doc)
    panel = read(tmp_path, characteristics="all", signal_doc=tmp_path / "SignalDoc.csv")
    names = ("AM", "zerotrade6M", "AssetGrowth", "Extra", "Flow", "Price", "Size", "STreversal")
    assert panel.characteristic_names == names
    assert [panel.frequency[name] for name in ("Extra", "Flow", "zerotrade6M")] == ["monthly", "annual", "monthly"]
    assert any("2 signals (Extra, Flow)" in note and "SignalDoc" in note for note in panel.notes)
    without = read(tmp_path, characteristics="all")
    assert without.frequency["Extra"] == "annual"


def test_the_rate_may_be_a_column(tmp_path: Path) -> None:
    write(tmp_path, signals(), crsp().assign(rf=0.002))
    assert set(read(tmp_path, risk_free=None).values("risk_free")) == {np.float32(0.002)}
    write(tmp_path, signals(), crsp())
    with pytest.raises(InputError, match=r"no column rf: give one of French's factor files as data\.risk_free"):
        read(tmp_path, risk_free=None)


Broken = Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda s, c: (s.drop(columns="yyyymm"), c), r"signals\.csv has no column 'yyyymm'"),
        (lambda s, c: (s.drop(columns="AM"), c), r"signals\.csv has no signal 'AM'"),
        (lambda s, c: (s.rename(columns={"AssetGrowth": "AssetGrwth"}), c), "did you mean 'AssetGrwth'"),
        (lambda s, c: (s.astype({"AM": object}).replace({"AM": {3.0: "x3"}}), c), r"'AM' must hold numbers; got 'x3'"),
        (lambda s, c: (s.assign(permno="IBM"), c), r"'permno' must hold numbers; got 'IBM'"),
        (lambda s, c: (s.assign(permno=1.5), c), r"'permno' must hold a whole number"),
        (lambda s, c: (s.assign(yyyymm=2000), c), r"signals\.csv: column 'yyyymm' must hold months"),
        (
            lambda s, c: (s.assign(yyyymm=s["yyyymm"].astype(object).where(s.index > 0)), c),
            "'yyyymm' must hold a month",
        ),
        (lambda s, c: (pd.concat([s, s.iloc[:1]]), c), r"permno 10001 more than once in 2000-01 \(1 such rows\)"),
        (lambda s, c: (s.assign(permno=s["permno"] + 100), c), "no permno of the signals .* has a return"),
        (lambda s, c: (s.iloc[:0], c), r"signals\.csv holds no rows below its column names"),
        (lambda s, c: (s.assign(AM=1.0), c), "column 'AM' .* must vary"),
        (lambda s, c: (s, c.drop(columns="shrout")), r"crsp\.csv has no column 'shrout'"),
        (lambda s, c: (s, c.assign(ret="x1")), r"crsp\.csv: column 'ret' must hold numbers or CRSP's letter codes"),
        (lambda s, c: (s, c.assign(prc="C")), r"crsp\.csv: column 'prc' must hold numbers; got 'C'"),
        (lambda s, c: (s, c.assign(ret=np.arange(18.0))), "divide it by 100"),
        (lambda s, c: (s, c.assign(ret=-1.5)), "must be|must hold"),
        (lambda s, c: (s, pd.concat([c, c.iloc[:1].assign(prc=3.0)])), "different rows for permno 10001 in one month"),
        (lambda s, c: (s, c.assign(date="31.01.2000")), r"crsp\.csv: column 'date' must hold months"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(tmp_path: Path, broken: Broken, says: str) -> None:
    write(tmp_path, *broken(signals(), crsp()))
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "permno" in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    write(tmp_path, signals(), crsp())
    (tmp_path / "latin.csv").write_bytes("permno,yyyymm,é\n1,200001,2\n".encode("latin-1"))
    (tmp_path / "ragged.csv").write_text("permno,yyyymm,AM,zerotrade,AssetGrowth,FEPS\n1,200001,1,1,1,1,1,1\n")
    (tmp_path / "twice.csv").write_text("permno,yyyymm,AM,AM\n1,200001,1,1\n")
    (tmp_path / "pipes.csv").write_text("permno|yyyymm|AM\n")
    (tmp_path / "empty.csv").write_text("")
    signals().to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-200])
    (tmp_path / "none").mkdir()
    sentences = {
        "latin.csv": "UTF-8 text",
        "ragged.csv": "not one table",
        "twice.csv": "two columns named 'AM'",
        "pipes.csv": "must be delimited",
        "empty.csv": "is empty",
        "cut.parquet": "damaged or truncated Parquet",
        "none": "holds no signals",
        "absent.csv": r"must be a file; there is none: check the path \(it is taken from",
    }
    for name, says in sentences.items():
        with pytest.raises(InputError, match=says) as caught:
            read(tmp_path, name)
        assert name in str(caught.value)


def test_a_month_without_a_rate_is_refused(tmp_path: Path) -> None:
    write(tmp_path, signals(), crsp())
    (tmp_path / "french.csv").write_text(RATES.rsplit("\n", 2)[0] + "\n")
    with pytest.raises(InputError, match=r"french\.csv has no risk-free rate for 2000-06"):
        read(tmp_path)
    (tmp_path / "french.csv").write_text(RATES.replace("Mkt-RF", "Mkt"))
    with pytest.raises(InputError, match="no monthly table with Mkt-RF and RF"):
        read(tmp_path)
