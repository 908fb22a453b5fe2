"""Any table as a catalog: columns found or mapped, hostile cells, damaged files."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogs.builders import build_table
from catalogs.builders.cells import text, year
from catalogs.catalog import open_source, write_catalog
from catalogs.errors import ConfigError
from catalogs.schema import SCHEMA, table_from_rows


def rows_of(path, content, mapping=None, **options):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return build_table(path, mapping, **options).table.to_pylist()


def test_known_names_are_found_and_the_rest_kept(tmp_path):
    Image.new("RGB", (300, 280)).save(tmp_path / "a.png")
    header = "Object ID,Path,Title,Artist Display Name,Object Begin Date,Is Public Domain,Gallery"
    (row,) = rows_of(tmp_path / "met.csv", f"{header}\n12,a.png,Vase,A. B.|C. D.,-44,True,774\n")
    assert row["id"] == "12"
    assert row["image_uri"] == str(tmp_path / "a.png")
    assert (row["width"], row["height"]) == (300, 280)
    assert [artist["name"] for artist in row["artists"]] == ["A. B.", "C. D."]
    assert (row["artist"], row["year_begin"], row["is_public_domain"]) == ("A. B.", -44, True)
    assert row["extra"] == [("Gallery", "774")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_marks_and_quoted_newlines(tmp_path, delimiter, encoding):
    lines = [
        delimiter.join(("file_name", "title", "prompt")),
        delimiter.join(("a.jpg", '"two\nlines, ""quoted"" ; | \t."', "Wellen")),
        delimiter.join(("b.jpg", "", "naïve 🌊")),
    ]
    content = "\r\n".join(lines).encode(encoding)
    first, second = sorted(rows_of(tmp_path / "t.csv", content), key=lambda r: r["image_uri"])
    assert first["title"] == 'two\nlines, "quoted" ; | \t.'
    assert second["title"] is None
    assert second["prompt"] == "naïve 🌊"


def test_mapping_wins_over_names(tmp_path):
    content = "file,title,caption,shelf\na.jpg,Wrong,Right,x\n"
    (row,) = rows_of(tmp_path / "t.csv", content, {"title": "caption", "id": "shelf"})
    assert (row["id"], row["title"]) == ("x", "Right")
    assert row["extra"] == [("title", "Wrong")]


def test_proxies_are_known_by_their_bytes_and_addresses_have_no_dots(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "proxy.png").write_bytes(b"any bytes")
    content = (
        "file_name,proxy,proxy_sha256,wall\na/../a.jpg,p/../p/proxy.png,old,w\n"
        "b.jpg,none.png,,\nparquet://p/../t.parquet#row_group=0&row=1,s3://b/../p.png,given,\n"
    )
    rows = {row["image_uri"]: row for row in rows_of(tmp_path / "p" / ".." / "t.csv", content)}
    first = rows[str(tmp_path / "a.jpg")]
    assert first["proxy_uri"] == str(tmp_path / "p" / "proxy.png")
    digest = hashlib.sha256(b"any bytes").hexdigest()
    assert first["extra"] == [("wall", "w"), ("proxy_sha256", digest)]
    assert rows[str(tmp_path / "b.jpg")]["extra"] is None
    far = rows[f"parquet://{tmp_path}/t.parquet#row_group=0&row=1"]
    assert far["proxy_uri"] == "s3://b/../p.png"
    assert far["extra"] == [("proxy_sha256", "given")]


def test_wrong_mappings_name_the_nearest(tmp_path):
    content = "file,caption\na.jpg,x\n"
    with pytest.raises(
        ConfigError, match=r"'titel' is not a catalog column \(did you mean 'title'"
    ):
        rows_of(tmp_path / "t.csv", content, {"titel": "caption"})
    with pytest.raises(ConfigError, match=r"no column 'captoin' \(did you mean 'caption'"):
        rows_of(tmp_path / "t.csv", content, {"title": "captoin"})


def test_ids_are_derived_from_the_path_as_written(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    content = "path\nx/a.jpg\nx/b.jpg\n"
    first = rows_of(tmp_path / "one" / "t.csv", content)
    second = rows_of(tmp_path / "two" / "t.csv", content)
    assert [row["id"] for row in first] == [row["id"] for row in second]
    assert len({row["id"] for row in first}) == 2


def test_hostile_ids_and_repeated_rows(tmp_path):
    ids = ["../../x", "a/b", "<script>", "🖼️", "=cmd()", "dup", "dup", "", "   "]
    lines = [json.dumps({"id": work, "image": f"{n}.jpg"}) for n, work in enumerate(ids)]
    lines.append('{"id": "\\ud83d", "image": "s.jpg"}')
    lines.append('{"id": null, "image": "n.jpg"}')
    lines.append('{"id": "no image", "image": ""}')
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    result = build_table(tmp_path / "t.jsonl")
    assert sorted(result.table["id"].to_pylist()) == sorted(
        ["../../x", "a/b", "<script>", "🖼️", "=cmd()", "dup"]
    )
    assert result.report.dropped == {"duplicate_id": 1, "empty_id": 4, "no_image": 1}
    assert result.report.rows_in == 12
    kept = next(row for row in result.table.to_pylist() if row["id"] == "dup")
    assert kept["image_uri"].endswith("5.jpg")


def test_json_lines_keep_types(tmp_path):
    row = {
        "id": 7,
        "image": "a.jpg",
        "artists": ["Jane Doe", {"name": "Max", "death_year": 1900}],
        "styles": ["A; B", "C"],
        "title": "lone \ud83d surrogate",
        "nested": {"a": [1]},
        "width": "wide",
        "prompt": "p" * 5_000,
    }
    (read,) = rows_of(tmp_path / "t.jsonl", json.dumps(row) + "\n\n")
    assert read["id"] == "7"
    assert [artist["name"] for artist in read["artists"]] == ["Jane Doe", "Max"]
    assert read["artists"][1]["death_year"] == 1900
    assert read["styles"] == ["A; B", "C"]
    assert read["title"] == "lone ? surrogate"
    assert dict(read["extra"]) == {"nested": '{"a": [1]}'}
    assert read["width"] is None
    assert len(read["prompt"]) == 5_000


def test_paths_stay_where_they_belong(tmp_path):
    content = (
        "id,image,proxy\n1,sub/a.jpg,p.png\n2,/abs/b.jpg,\n3,s3://bucket/c.jpg,s3://bucket/p.png\n"
        "4,parquet://d.parquet#row_group=0&row=1,\n"
    )
    rows = {row["id"]: row for row in rows_of(tmp_path / "t.csv", content)}
    assert rows["1"]["image_uri"] == str(tmp_path / "sub" / "a.jpg")
    assert rows["1"]["proxy_uri"] == str(tmp_path / "p.png")
    assert rows["2"]["image_uri"] == "/abs/b.jpg"
    assert rows["3"]["image_uri"] == "s3://bucket/c.jpg"
    assert rows["4"]["image_uri"] == f"parquet://{tmp_path}/d.parquet#row_group=0&row=1"


def test_missing_files_are_counted_and_kept(tmp_path):
    (tmp_path / "t.csv").write_text("id,image\n1,gone.jpg\n2,nul\0.jpg\n3,s3://b/c.jpg\n")
    result = build_table(tmp_path / "t.csv")
    assert result.report.flagged == {"missing_file": 2}
    assert result.table.num_rows == 3
    assert not build_table(tmp_path / "t.csv", probe=False).report.flagged


def test_parquet_with_other_columns(tmp_path):
    table = pa.table(
        {"file_name": ["a.jpg"], "year": [1889.0], "tags": [["sea", None, ""]], "n": [1.0]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (row,) = build_table(tmp_path / "t.parquet").table.to_pylist()
    assert (row["year_begin"], row["subjects"]) == (1889, ["sea"])
    assert row["extra"] == [("n", "1")]


def test_a_catalog_passes_unchanged(tmp_path):
    table = table_from_rows(
        [{"id": "../x", "image_uri": "rel/a.jpg", "artists": [{"name": "A", "slug": "a"}]}]
    )
    write_catalog(table, tmp_path / "c.parquet")
    result = build_table(tmp_path / "c.parquet")
    assert result.table.equals(table)
    # Also when another program wrote it and its metadata is gone.
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "d.parquet")
    assert open_source(tmp_path / "d.parquet").equals(table)


def test_an_older_catalog_is_known_by_its_metadata(tmp_path):
    older = pa.table({"id": ["../x"], "image_uri": ["rel/a.jpg"]})
    older = older.replace_schema_metadata({"epa_schema_version": "1"})
    pq.write_table(older, tmp_path / "c.parquet")
    assert build_table(tmp_path / "c.parquet").table["image_uri"].to_pylist() == ["rel/a.jpg"]


def test_ids_of_a_passed_catalog_are_checked(tmp_path):
    table = pa.table(
        {
            **{name: pa.nulls(4, SCHEMA.field(name).type) for name in SCHEMA.names},
            "id": ["a", "a", " ", "b"],
            "image_uri": list("wxyz"),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    result = build_table(tmp_path / "c.parquet")
    assert result.table["id"].to_pylist() == ["a", "b"]
    assert result.report.dropped == {"duplicate_id": 1, "empty_id": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "the table is empty"),
        ("t.csv", "file_name,title\n", "the table has no rows"),
        ("t.csv", "file_name,title\na.jpg,A,extra\n", "cannot be read: .*Expected 2 columns"),
        ("t.csv", b"file_name,title\na.jpg,caf\xe9\n", "cannot be read"),
        ("t.csv", "title,year\nA,1900\n", "no column names an image file; it has title, year"),
        ("t.csv", "file,file\na,b\n", "more than one column is named file"),
        ("t.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("t.jsonl", '{"file": "a"}\n{"file": \n', "line 2 is not JSON"),
        ("t.jsonl", '["a"]\n', "line 1 is not a JSON object"),
        ("t.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("t.parquet", "no parquet", "cannot be read"),
        ("t.xlsx", "x", r"unknown kind of table '.xlsx'; allowed are .csv"),
    ],
)
def test_damaged_tables_are_refused_in_one_sentence(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message) as caught:
        rows_of(tmp_path / name, content)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        build_table(tmp_path / "none.csv")
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        build_table(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1889", 1889),
        (1889.0, 1889),
        ("c. 1889", 1889),
        ("1503-1506", 1503),
        ("1503–06", 1503),
        ("-44", -44),
        ("44 BC", -44),
        ("500 B.C.", -500),
        ("17 May 1650", 1650),
        ("19th century", None),
        ("unknown", None),
        ("", None),
        (None, None),
        ("20210101", None),
    ],
)
def test_years(cell, expected):
    assert year(cell) == expected


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@settings(deadline=None)
@given(values)
def test_any_value_becomes_text_or_null(value):
    shown = text(value)
    assert shown is None or shown.strip()
    assert shown is None or shown.encode("utf-8")


names = st.sampled_from([*SCHEMA.names, "x", "year", "", "lone \ud83d"])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(names, values), max_size=3))
def test_any_json_lines_build_or_are_refused(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("\n".join(json.dumps({"image": "a.jpg", **row}) for row in rows))
    try:
        table = build_table(path, probe=False).table
    except ConfigError:
        return
    assert table.schema.equals(SCHEMA)
    assert all(work.strip() for work in table["id"].to_pylist())


SECRET = "wJalr/XUtn+FEMI"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (f"s3://AKIA7:{SECRET}@art/a.jpg", " for 'art'"),
        (f"https://me:{SECRET}@host.org:8080/a.jpg", " for 'host.org:8080'"),
        (f"https://box.blob.core.windows.net/a.jpg?sig={SECRET}&u=http://b", " for 'box.blob"),
        (f"parquet://s3://AKIA7:{SECRET}@art/a.parquet#row_group=0&row=0", " for 'art'"),
        (f"https://me:p@{SECRET}@host/a.jpg", "a signature; credentials come"),
    ],
)
def test_a_row_with_credentials_is_named_by_its_number(tmp_path, address, host):
    lines = ["file_name", *(f"{n}.jpg" for n in range(100))]
    lines[18] = address
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        build_table(path)
    message = str(caught.value)
    assert f"{path}: row 18: image_uri holds credentials or a signature" in message
    assert host in message
    assert not any(part in message for part in SECRET.split("/"))
    assert "table:" not in message


def test_all_rows_with_credentials_are_counted(tmp_path):
    path = tmp_path / "list.csv"
    rows = [f"s3://K:{SECRET}@art/{n}.jpg,{n}" for n in range(7)]
    path.write_text("\n".join(["file_name,id", "a.jpg,x", *rows]))
    with pytest.raises(ConfigError, match=r"row 2: image_uri of '0' holds .*row 6: .*\(7 such"):
        build_table(path)
