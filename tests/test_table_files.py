"""Files as other programs leave them: encodings, compression, delimiters, and what is said of bad ones."""

import bz2
import csv
import gzip
import io
import lzma
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from support.tables import ROWS, SMALL, table, write

from w2s_bench.errors import UsageError, W2SError

TEXTS = [f"größer als Straße {i} – “çà”" for i in range(60)]
COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


def delimited(delimiter: str = ",", texts: list[str] = TEXTS) -> str:
    out = io.StringIO()
    rows = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    rows.writerows([["text", "label"], *([t, i % 2] for i, t in enumerate(texts))])
    return out.getvalue()


def json_lines() -> str:
    return "".join(f'{{"text": "{t}", "label": {i % 2}}}\n' for i, t in enumerate(TEXTS))


def texts_of(path, **options) -> list[str]:
    task = table(path, **options)
    task.fingerprint()
    return task._rows.text


# --- encodings

CONTENT = {
    "a.csv": delimited(),
    "a.tsv": delimited("\t"),
    "a.jsonl": json_lines(),
    "a.json": f"[{json_lines()[:-1].replace(chr(10), ',')}]",
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_every_encoding_is_read(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(CONTENT[name].encode(encoding))
    assert texts_of(tmp_path / name, encoding=encoding) == TEXTS


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize(
    ("written", "given", "remedy"),
    [
        ("utf-8-sig", "utf-8", None),
        ("utf-16", "utf-8", "utf-16"),
        ("utf-16-le", "utf-8", "utf-16-le"),
        ("utf-16-be", "utf-8", "utf-16-be"),
        ("utf-32", "utf-8", "utf-32"),
        ("cp1252", "utf-8", "cp1252"),
        ("cp1252", "ascii", "cp1252"),
        ("utf-8", "ascii", "utf-8"),
    ],
)
def test_another_encoding_is_named_with_one_that_reads_the_file(tmp_path, name, written, given, remedy):
    path = tmp_path / name
    path.write_bytes(CONTENT[name].encode(written))
    if remedy is not None:
        with pytest.raises(W2SError) as caught:
            texts_of(path, encoding=given)
        assert f"{name}: the text is not in {given}; task.encoding={remedy} reads it" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert texts_of(path, encoding=remedy or given) == TEXTS


def test_bytes_that_windows_does_not_know_are_read_as_latin_1(tmp_path):
    (tmp_path / "a.csv").write_bytes(delimited(texts=[f"caf\xe9 \x81 {i}" for i in range(60)]).encode("latin-1"))
    with pytest.raises(W2SError, match=r"task.encoding=latin-1 reads it; if letters then look wrong"):
        texts_of(tmp_path / "a.csv")
    assert texts_of(tmp_path / "a.csv", encoding="latin-1")[3] == "café \x81 3"


def test_compressed_files_have_encodings_too(tmp_path):
    (tmp_path / "a.csv.zst").write_bytes(COMPRESS[".zst"](delimited().encode("utf-16")))
    with pytest.raises(W2SError, match=r"task.encoding=utf-16 reads it$"):
        texts_of(tmp_path / "a.csv.zst")
    assert texts_of(tmp_path / "a.csv.zst", encoding="utf-16") == TEXTS


@pytest.mark.parametrize(
    ("encoding", "message"), [("latin1x", "did you mean 'latin-1'"), ("base64", "some of those it knows: utf-8, ")]
)
def test_an_unknown_encoding_is_refused_before_anything_is_read(tmp_path, encoding, message):
    path = write(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(UsageError, match=rf"task.encoding={encoding}: Python knows no such text encoding; {message}"):
        table(path, encoding=encoding).fingerprint()


def test_a_damaged_utf_16_file_is_not_sent_in_a_circle(tmp_path):
    (tmp_path / "a.csv").write_bytes(delimited().encode("utf-16")[:-1])
    with pytest.raises(W2SError, match="begins as utf-16 but is not in it throughout"):
        texts_of(tmp_path / "a.csv", encoding="utf-16")


# --- compression


def plain_file(folder, name: str) -> bytes:
    path = folder / name
    if name in CONTENT:
        return CONTENT[name].encode()
    columns = pa.table({"text": TEXTS, "label": [i % 2 for i in range(len(TEXTS))]})
    (pa.parquet.write_table if name.endswith("parquet") else pa.feather.write_feather)(columns, path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", [*CONTENT, "a.parquet", "a.arrow"])
def test_compressed_files_are_read(tmp_path, name, suffix):
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(COMPRESS[suffix](plain_file(tmp_path, name)))
    assert texts_of(path) == TEXTS
    if name in ("a.csv", "a.tsv", "a.jsonl"):  # of the others the columns are known when they are read
        with pytest.raises(UsageError, match=r"no column 'words' \(task.text\)"):
            table(path, text="words").fingerprint()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_damaged_compressed_files_are_explained(tmp_path, suffix):
    whole = COMPRESS[suffix](os.urandom(3000).hex().encode() + b"\n" + delimited().encode())
    for name, content in (("cut", whole[: len(whole) // 2]), ("no", b"text,label\na,1\n"), ("none", b"")):
        path = tmp_path / f"{name}.csv{suffix}"
        path.write_bytes(content)
        with pytest.raises(W2SError) as caught:
            texts_of(path)
        assert f"{name}.csv{suffix}: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_without_the_suffix_is_recognised(tmp_path, suffix):
    (tmp_path / "a.csv").write_bytes(COMPRESS[suffix](delimited().encode()))
    with pytest.raises(W2SError, match=rf"a.csv: no text: its content is .*\({suffix}\); give the file that suffix"):
        texts_of(tmp_path / "a.csv")


# --- delimiters and quotes


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_the_header_tells_the_delimiter(tmp_path, name, delimiter):
    (tmp_path / name).write_text(delimited(delimiter))
    assert texts_of(tmp_path / name) == TEXTS


def test_commas_win_in_csv(tmp_path):
    (tmp_path / "a.csv").write_text(delimited().replace("text,label", "text,label;or|not", 1))
    assert texts_of(tmp_path / "a.csv", label="label;or|not") == TEXTS


def test_lines_within_quotes_carriage_returns_and_long_texts(tmp_path):
    texts = [f"first\r\nsecond, {i}\rthird\n\n'{'x' * 200_000 if i == 7 else ''}\"" for i in range(60)]
    (tmp_path / "a.csv").write_text(delimited(texts=texts), newline="")
    assert texts_of(tmp_path / "a.csv") == texts
    windows = delimited().replace("\n", "\r\n").replace("label\r\n", "label\r\n\r\n")
    (tmp_path / "b.csv").write_text("\r\n" + windows, newline="")
    assert texts_of(tmp_path / "b.csv") == TEXTS


def test_names_in_a_header_are_trimmed(tmp_path):
    (tmp_path / "a.csv").write_text(delimited().replace("text,label", "text , label", 1))
    assert texts_of(tmp_path / "a.csv") == TEXTS


# --- what cannot be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("blank.csv", b"\n \n", "the file is empty"),
        ("none.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("sheet.csv", b"PK\x03\x04 and more", "no text: its content is a zip archive, as of a spreadsheet"),
        ("pq.jsonl", b"PAR1 and more", r"its content is Parquet \(.parquet\); give the file that suffix"),
        ("open.csv", b'text,label\na,1\n"b,0\nc,1\n', r"line 3: broken quotes \(unexpected end of data\); .* twice"),
        ("inside.csv", b'\ntext,label\n"a "b" c",1\n', r"line 3: broken quotes \(.*\); a quote within"),
        ("wide.csv", b"text,label\na,1\nb, and c,1\n", "line 3: expected 2 columns, as in the header, found 3; a text"),
        ("twins.csv", b"text,label,text\na,1,b\n", r"several columns are called 'text' \(columns 1, 3\); rename"),
        (
            "case.csv",
            b"Text,LABEL\na,1\n",
            r"no column 'text' \(task.text\); did you mean 'Text'\? it has: Text, LABEL",
        ),
        ("typo.csv", b"text,lable\na,1\n", r"no column 'label' \(task.label\); did you mean 'lable'\?"),
        ("table.csv.zip", b"PK", "unknown format .zip; known: .csv, .*also with .gz, .bz2, .xz, .zst behind"),
    ],
)
def test_unreadable_files_are_explained(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(W2SError, match=message) as caught:
        table(tmp_path / name).load(0, SMALL)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_twin_columns_of_parquet_are_explained_and_others_do_not_matter(tmp_path):
    path = tmp_path / "a.parquet"
    columns = pa.Table.from_arrays(
        [pa.array(TEXTS), pa.array([i % 2 for i in range(60)])] * 2, ["text", "label", "x", "x"]
    )
    pa.parquet.write_table(columns, path)
    assert texts_of(path) == TEXTS
    pa.parquet.write_table(columns.rename_columns(["text", "label", "x", "label"]), path)
    with pytest.raises(W2SError, match=r"several columns are called 'label' \(columns 2, 4\)"):
        texts_of(path)


def test_the_command_line_takes_the_options(tmp_path):
    (tmp_path / "größe.csv.xz").write_bytes(lzma.compress(delimited(";").encode("latin-1", "replace")))
    shared = [
        "run",
        "task=table",
        "task.path=größe.csv.xz",
        "task.encoding=latin1",
        "--cfg",
        "job",
        "--package",
        "task",
    ]
    done = subprocess.run([sys.executable, "-m", "w2s_bench", *shared], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "encoding: latin1" in done.stdout, done.stderr
