"""Values and gradients equal those that DyNet's wheel computed (`record.py`)."""

from __future__ import annotations

import pytest
import recording

import lazynet.dynet as dy

TABLES = recording.tables()
CASES = [(name, case) for name, table in TABLES.items() for case in table.cases]


@pytest.fixture(scope="module")
def stored() -> dict[str, dict]:
    return {name: recording.load(name) for name in TABLES}


@pytest.mark.parametrize(("table", "name"), CASES, ids=[f"{t}-{c}" for t, c in CASES])
def test_equals_the_wheel(table, name, stored) -> None:
    case = TABLES[table].cases[name]
    recording.compare(case, recording.run(case, dy), stored[table][name])


@pytest.mark.parametrize("table", TABLES)
def test_every_stored_case_is_run(table, stored) -> None:
    assert sorted(stored[table]) == sorted(TABLES[table].cases)
