"""Selecting works with DuckDB expressions that can read nothing but the catalog."""

import pytest

from catalogs.catalog import select
from catalogs.errors import ConfigError
from catalogs.schema import table_from_rows


@pytest.fixture(scope="module")
def table():
    return table_from_rows(
        {
            "id": f"w{n:03d}",
            "image_uri": "x",
            "title": f"title {n}",
            "styles": ["Cubism"] if n % 2 else ["Realism", "Impressionism"],
            "year_begin": 1800 + n,
            "artists": [{"name": "A", "slug": f"a{n}"}],
            "extra": [("department", "Prints")] if n == 7 else None,
        }
        for n in range(100)
    )


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("year_begin < 1803", ["w000", "w001", "w002"]),
        ("list_contains(styles, 'Cubism') AND year_begin <= 1803", ["w001", "w003"]),
        ("extra['department'] = 'Prints'", ["w007"]),
        ("artists[1].slug = 'a5'", ["w005"]),
        ("id IN (SELECT id FROM catalog ORDER BY year_begin DESC LIMIT 1)", ["w099"]),
        ("title = 'title 3' -- a comment", ["w003"]),
    ],
)
def test_expressions(table, where, ids):
    chosen = select(table, where)
    assert chosen["id"].to_pylist() == ids
    assert chosen.schema.equals(table.schema)


def test_limit_takes_the_first_ids(table):
    assert select(table, "year_begin >= 1850", 2)["id"].to_pylist() == ["w050", "w051"]
    assert select(table, None, 3).num_rows == 3
    assert select(table).equals(table)
    assert select(table, "  ").equals(table)


def test_unknown_column_gets_the_nearest_name(table):
    with pytest.raises(ConfigError, match=r"no column 'yaer_begin' \(did you mean 'year_begin'\?"):
        select(table, "yaer_begin < 1900")
    with pytest.raises(ConfigError, match=r"no column 'zzz'; allowed are id, "):
        select(table, "zzz = 1")


@pytest.mark.parametrize(
    "where",
    [
        "year_begin <",
        "1=1; DROP TABLE catalog",
        "title IN (SELECT content FROM read_text('/etc/hostname'))",
        "title IN (SELECT column0 FROM '/etc/passwd')",
        "year_begin = 'soon'",
        "(SELECT 1 FROM other) = 1",
        "true) UNION (SELECT id FROM catalog",
        "true LIMIT 1",
        "getenv('HOME') <> ''",
    ],
)
def test_wrong_or_reaching_expressions_are_refused(table, where):
    with pytest.raises(ConfigError, match="is not a valid expression"):
        select(table, where)


def test_names_of_python_variables_are_no_tables(table):
    secret = table
    with pytest.raises(ConfigError, match="is not a valid expression"):
        select(table, "id IN (SELECT id FROM secret)")
    assert secret is table


def test_empty_selection_and_bad_limit(table):
    with pytest.raises(ConfigError, match="selects none of the 100 works"):
        select(table, "false")
    with pytest.raises(ConfigError, match="limit: 0"):
        select(table, None, 0)
    with pytest.raises(ConfigError, match="no works"):
        select(table.slice(0, 0), None)


def test_style_and_year_are_there_as_people_call_them() -> None:
    rows = [
        {"id": "a", "image_uri": "a.png", "styles": ["Cubism", "Fauvism"], "year_begin": 1911},
        {"id": "b", "image_uri": "b.png", "styles": [], "year_begin": 1850},
        {"id": "c", "image_uri": "c.png"},
    ]
    table = table_from_rows(rows)
    assert select(table, "style = 'Cubism'")["id"].to_pylist() == ["a"]
    assert select(table, "year < 1900")["id"].to_pylist() == ["b"]
