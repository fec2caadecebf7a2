"""Labels as spreadsheets and data frames leave them: floats, holes, several spellings of one class."""

from __future__ import annotations

import math
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet
import pytest
from support.tables import SMALL, table, write

from w2s_bench.errors import W2SError
from w2s_bench.plugins.tables.classes import NO_NUMBER


def parquet(path, labels, kind=None) -> str:
    texts = [f"text {i}" for i in range(len(labels))]
    pa.parquet.write_table(pa.table({"text": texts, "label": pa.array(labels, kind)}), path)
    return str(path)


def spreadsheet(path, labels) -> str:
    path.write_text("text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels)))
    return str(path)


def classes(task) -> list[str]:
    """Returns the class of each row, by name."""
    return [task._rows.class_names[k] for k in task._rows.truth]


# --- numbers


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.decimal128(4, 2), pa.int8()])
def test_whole_numbers_of_any_type_are_classes(tmp_path, kind):
    labels = [Decimal(i % 3) if pa.types.is_decimal(kind) else i % 3 for i in range(60)]
    path = parquet(tmp_path / "a.parquet", labels, kind)
    assert classes(table(path)) == [str(i % 3) for i in range(60)]


@pytest.mark.parametrize("written", [["0.0", "1.0"], ["0", "1.0"], ["0.00", " 1"]])
def test_whole_numbers_in_csv_are_classes(tmp_path, written):
    assert classes(table(spreadsheet(tmp_path / "a.csv", written * 30))) == ["0", "1"] * 30


def test_whole_and_integer_numbers_in_json_are_the_same_classes(tmp_path):
    rows = [{"text": f"t{i}", "label": (0, 1.0, 0.0, 1)[i % 4]} for i in range(60)]
    assert classes(table(write(tmp_path / "a.jsonl", rows))) == ["0", "1"] * 30


@pytest.mark.parametrize("odd", [0.5, math.inf])
def test_other_numbers_are_no_classes(tmp_path, odd):
    path = parquet(tmp_path / "a.parquet", [0.0, 1.0] * 30 + [odd], pa.float64())
    with pytest.raises(W2SError, match=rf"row 61: .*a class \(a whole number, a word, .*found {odd} \(float\)"):
        table(path).load(0, SMALL)


# --- rows without a label


def holes(tmp_path, form: str) -> str:
    """Returns a table whose every fifth row has no label."""
    labels = [None if i % 5 == 4 else i % 2 for i in range(100)]
    if form == "parquet of floats":
        return parquet(tmp_path / "a.parquet", labels, pa.float64())
    if form == "parquet of NaN":
        return parquet(tmp_path / "a.parquet", [math.nan if v is None else v for v in labels], pa.float64())
    if form == "json":
        return write(tmp_path / "a.jsonl", [{"text": f"text {i}", "label": v} for i, v in enumerate(labels)])
    written = {"csv, empty": "", "csv, blank": "  "}.get(form, form.removeprefix("csv, "))
    return spreadsheet(tmp_path / "a.csv", [written if v is None else float(v) for v in labels])


FORMS = ["parquet of floats", "parquet of NaN", "json", "csv, empty", "csv, blank"]


@pytest.mark.parametrize("form", [*FORMS, *(f"csv, {word}" for word in sorted(NO_NUMBER)), "csv, NaN"])
def test_rows_without_a_label_are_an_error_or_left_out(tmp_path, form):
    path = holes(tmp_path, form)
    with pytest.raises(
        W2SError, match=r"(row|line) 5: column 'label'.* expected a class, found .*; task.missing_labels=drop"
    ):
        table(path).load(0, SMALL)
    task = table(path, missing_labels="drop")
    names, splits = task.load(0, SMALL)
    assert names == ["0", "1"]
    assert task.notes == ("20 of 100 rows have no label ('label') and are left out",)
    assert not {f"text {i}" for i in range(4, 100, 5)} & {t for s in splits.values() for t in s.inputs.text}


def test_nothing_is_said_where_nothing_is_missing(tmp_path):
    task = table(spreadsheet(tmp_path / "a.csv", [0, 1] * 30), missing_labels="drop")
    task.load(0, SMALL)
    assert task.notes == ()


def test_words_that_stand_for_holes_among_numbers_are_classes_among_words(tmp_path):
    assert set(classes(table(spreadsheet(tmp_path / "a.csv", ["none", "some"] * 30)))) == {"none", "some"}


def test_what_is_dropped_may_be_bad_elsewhere_too(tmp_path):
    rows = [{"text": f"t{i}", "label": i % 2, "id": i} for i in range(60)] + [{"text": None, "label": None, "id": 7}]
    task = table(write(tmp_path / "a.jsonl", rows), missing_labels="drop")
    assert len(task._rows.text) == 60


def test_classes_kept_secret_in_datasets_are_missing_labels(tmp_path):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = [{"text": f"t{i}", "label": -1 if i % 5 == 4 else i % 2} for i in range(100)]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "saved")
    with pytest.raises(W2SError, match=r"row 5: .*a class out of no, yes, found -1 \(int\); task.missing_labels=drop"):
        table(tmp_path / "saved").load(0, SMALL)
    task = table(tmp_path / "saved", missing_labels="drop")
    assert set(classes(task)) == {"no", "yes"} and task.notes[0].startswith("20 of 100 rows have no label")


def test_a_table_without_any_label_is_explained(tmp_path):
    with pytest.raises(W2SError, match=r"column 'label' \(task.label\): no row has a label"):
        table(spreadsheet(tmp_path / "a.csv", [""] * 30), missing_labels="drop").load(0, SMALL)


# --- spellings


SPELLINGS = ["pos", "neg", "pos", "neg", "pos ", "neg", "POS", "neg"] * 10


def test_spellings_of_one_class_are_refused_and_joined_on_request(tmp_path):
    path = spreadsheet(tmp_path / "a.csv", SPELLINGS)
    expected = r"alone: 'pos' \(20\), 'POS' \(10\), 'pos ' \(10\); task.join_classes=true makes one class of each"
    with pytest.raises(W2SError, match=expected):
        table(path).load(0, SMALL)
    task = table(path, join_classes=True)
    assert task.load(0, SMALL)[0] == ["neg", "pos"]
    assert classes(task) == ["pos", "neg"] * 40
    assert task.notes == ("joined as one class: 'pos' (20), 'POS' (10), 'pos ' (10)",)


@pytest.mark.parametrize(
    "pair", [("groß", "GROSS"), ("caf\u00e9", "cafe\u0301"), ("very  good", "very good"), (" True", "true"), ("İ", "i̇")]
)
def test_all_kinds_of_spelling(tmp_path, pair):
    rows = [{"text": f"t{i}", "label": (*pair, "other", pair[0])[i % 4]} for i in range(80)]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(W2SError, match=r"differ in case or blanks alone: .* \(40\), .* \(20\);"):
        table(path).load(0, SMALL)
    names = table(path, join_classes=True).load(0, SMALL)[0]
    assert len(names) == 2 and "other" in names and names[0].strip() == names[0]


def test_classes_that_only_resemble_each_other_stay_apart(tmp_path):
    labels = ["pos", "pos.", "p o s", "cafe", "café"] * 20
    assert set(classes(table(spreadsheet(tmp_path / "a.csv", labels)))) == set(labels)
