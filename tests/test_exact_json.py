"""JSON whose numbers keep the form that they were written in."""

import copy
import gc
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_store.exact_json import LARGE, TOGETHER, WrittenFloat, dumps, indented, loads, loads_each

NUMBERS = ["49.90", "1e22", "1E5", "-0.0", "1.0", "0.1", "100", "1e-7", "5.00e+3", "-12.340"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_come_back_as_they_were_written(text: str) -> None:
    number = loads(text)
    assert dumps(number) == text
    assert number == json.loads(text)
    assert type(number) in (int, float, WrittenFloat)


def test_a_written_number_is_the_number() -> None:
    price = loads("49.90")
    assert isinstance(price, float)
    assert (price + 1, hash(price), json.dumps(price)) == (50.9, hash(49.9), "49.9")
    assert [dumps(same(price)) for same in (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)))] == [
        "49.90",
        "49.90",
    ]
    assert repr(price) == "49.90"
    assert type(loads("49.9")) is float


def test_written_numbers_lie_anywhere() -> None:
    text = '{"a":[49.90,{"é":1e22,"":[]},{},null,true,"\\u0000"],"b":"49.90","c":-0.0}'
    assert dumps(loads(text)) == text
    assert dumps((loads("1e5"), "x")) == '[1e5,"x"]'


def test_many_texts_are_read_as_each_alone() -> None:
    texts = [*NUMBERS, ' {"a":[1.50]}\n', '"]["', "[]", f'"{"x" * LARGE}"'] * TOGETHER
    assert [dumps(value) for value in loads_each(texts)] == [dumps(loads(text)) for text in texts]
    assert loads_each([]) == []


def test_too_large_a_number_is_no_json() -> None:
    assert math.isinf(loads("1e999"))


@given(JSON)
def test_other_values_are_written_as_ever(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert dumps(value) == text
    assert loads(text) == value
    laid_out, is_cut = indented(text)
    assert loads(laid_out) == value
    assert not is_cut


@given(JSON)
def test_indented_is_laid_out_as_by_the_standard_library(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if text.replace("[]", "").count("[") + text.replace("{}", "").count("{") < 6:
        assert indented(text)[0] == json.dumps(value, ensure_ascii=False, indent=2)


def test_text_is_laid_out_as_it_was_written() -> None:
    text = '{"a": 49.90, "a":[1E5,\n"\\u00e9"]}'
    assert indented(text)[0].splitlines() == ["{", '  "a": 49.90,', '  "a": [', "    1E5,", '    "\\u00e9"', "  ]", "}"]


def test_laying_out_stops_at_the_limit() -> None:
    text, is_cut = indented(json.dumps([[]] * 1_000_000), limit=100)
    assert (len(text), is_cut) == (100, True)


def test_deep_lists_are_not_laid_out_as_blanks() -> None:
    text = "[" * 90 + "]" * 90
    assert len(indented(text)[0]) < 2 * len(text)


def test_what_was_decoded_at_once_is_old() -> None:
    value = loads("[" + ",".join(["[]"] * 200_000) + "]")
    # Else the garbage collector would look at all of it at its next run, for whoever allocates next.
    assert len(value) == 200_000 > 10 * len(gc.get_objects(generation=0))


def test_what_a_site_has_frozen_stays_so() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        loads("[" + ",".join(["[]"] * 200_000) + "]")
        assert gc.get_freeze_count() >= 0.9 * frozen > 2_000
    finally:
        gc.unfreeze()
