"""TOON 4 as its specification has it; the values are our own."""

from typing import Any

import pytest

from context_store.engine.renderers.toon import encode
from tests.engine.toon import decode

CASES: list[tuple[str, Any, str]] = [
    ("empty object", {}, ""),
    ("empty array", [], "[]"),
    ("empty things in an object", {"a": [], "b": {}}, "a: []\nb:"),
    ("empty array in an array", [[1], []], "[2]:\n  - [1]: 1\n  - [0]:"),
    ("empty object in an array", {"a": [{}, 1]}, "a[2]:\n  -\n  - 1"),
    ("text alone", "plain words", "plain words"),
    ("numbers", [1.0, -0.0, 1e20, 1.5e-6, 0.1, 10**30], f"[6]: 1,0,1{'0' * 20},0.0000015,0.1,1{'0' * 30}"),
    ("numbers out of range keep their exponent", [1e22, 1e-7], "[2]: 1e+22,1e-07"),
    (
        "what would read as another type",
        ["1", "-1.5e3", "007", "true", "null", ""],
        '[6]: "1","-1.5e3","007","true","null",""',
    ),
    ("what only looks alike", ["1.", "True", "NaN", "v1.0"], "[4]: 1.,True,NaN,v1.0"),
    (
        "what would read as structure",
        ["a,b", "a: b", "[1]", "{a}", "- a", "#a"],
        '[6]: "a,b","a: b","[1]","{a}","- a","#a"',
    ),
    ("escapes", {"a": '"\\\n\t\r\x01'}, 'a: "\\"\\\\\\n\\t\\r\\u0001"'),
    ("keys", {"a.b_1": 1, "a b": 2, "1": 3, "é": 4, "": 5}, 'a.b_1: 1\n"a b": 2\n"1": 3\n"é": 4\n"": 5'),
    ("rows", {"r": [{"a": 1, "b": "x"}, {"b": "y,z", "a": 2}]}, 'r[2]{a,b}:\n  1,x\n  2,"y,z"'),
    ("rows with columns in columns", [{"a": {"x": 1, "y": {"z": 2}}}], "[1]{a{x,y{z}}}:\n  1,2"),
    ("rows of an object", {"p": {"ann": {"age": 1}, "bob b": {"age": 2}}}, 'p[2:]{age}:\n  ann: 1\n  "bob b": 2'),
    ("rows of the whole", {"a": {"x": 1}, "b": {"x": 2}}, "[2:]{x}:\n  a: 1\n  b: 2"),
    ("one object alone is no table", {"p": {"ann": {"age": 1}}}, "p:\n  ann:\n    age: 1"),
    ("unlike objects", [{"a": 1}, {"a": {"b": 1}}], "[2]:\n  - a: 1\n  - a:\n      b: 1"),
    ("null beside objects", [{"a": None}, {"a": {"b": 1}}], "[2]:\n  - a: null\n  - a:\n      b: 1"),
    (
        "tables in list items",
        {"l": [{"t": [{"x": 1}, {"x": 2}], "n": 1}, 5]},
        "l[2]:\n  - t[2]{x}:\n      1\n      2\n    n: 1\n  - 5",
    ),
    ("arrays in arrays are no tables", {"a": [[[{"x": 1}]]]}, "a[1]:\n  - [1]:\n    - [1]:\n      - x: 1"),
]


@pytest.mark.parametrize(("value", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_toon(value: Any, text: str) -> None:
    assert encode(value) == text
    assert decode(text) == value
