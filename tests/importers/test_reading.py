import io
import json
import random
import re
import tracemalloc
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_store.importers.reading import Record, read_records

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('ab"\\[]{},:é😀\n', max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text('a"\\]},', max_size=4), children, max_size=4)
    ),
    max_leaves=12,
)


def read(content: str | bytes, chunk_size: int = 1 << 20) -> list[Record]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_records(io.BytesIO(raw), chunk_size=chunk_size))


def values(content: str | bytes, chunk_size: int = 1 << 20) -> list[Any]:
    records = read(content, chunk_size)
    assert [record.error for record in records if record.error] == []
    return [record.value for record in records]


@given(st.lists(JSON_VALUES, max_size=6), st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
def test_an_array_reads_as_json_reads_it(
    items: list[Any], chunk_size: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    assert values(text, chunk_size) == items


@given(st.lists(JSON_VALUES, max_size=6), st.integers(1, 40), st.booleans())
def test_lines_read_as_json_reads_them(items: list[Any], chunk_size: int, ascii_only: bool) -> None:
    # What begins with a bracket is an array; a line of a file of records does not.
    lines = [json.dumps({"item": item}, ensure_ascii=ascii_only) for item in items]
    assert [value["item"] for value in values("\n".join(lines), chunk_size)] == items


@given(st.lists(st.dictionaries(st.text("ab", min_size=1), JSON_VALUES, min_size=1), max_size=4), st.integers(1, 40))
def test_objects_over_several_lines_follow_each_other(items: list[Any], chunk_size: int) -> None:
    text = "\n".join(json.dumps(item, indent=2) for item in items)
    assert values(text, max(chunk_size, 2)) == items


def test_a_bad_line_is_told_and_the_next_one_read() -> None:
    good, bad, last = read('{"a": 1}\n{"a": \n\n{"a": 2}')
    assert (good.place, good.value) == ("line 1", {"a": 1})
    assert bad.place == "line 2"
    assert bad.error is not None
    assert bad.error.startswith("is not JSON: Expecting value")
    assert (last.place, last.value) == ("line 4", {"a": 2})


def test_a_bad_item_is_told_and_the_next_one_read() -> None:
    records = read('[{"a": 1}, {"a": nope}, 7, {"b": [}, {"c": 3}], {"d": 4}]')
    assert [(record.place, record.error is None) for record in records[:3]] == [
        ("item 1", True),
        ("item 2", False),
        ("item 3", True),
    ]


@pytest.mark.parametrize("chunk_size", [2, 3, 100])
def test_nothing_behind_an_array_is_passed_over(chunk_size: int) -> None:
    assert values('[{"a": 1}]\n[{"a": 2}, 3]\n\n[]\n [4] ', chunk_size) == [{"a": 1}, {"a": 2}, 3, 4]
    good, bad = read('[{"a": 1}]\n more', chunk_size)
    assert (good.value, bad.place) == ({"a": 1}, "item 2")
    assert bad.error is not None
    # A bracket too many ends the array early.
    assert any(record.error for record in read('[{"a": 1}}, {"a": 2}]', chunk_size))
    assert read("[1] [2", chunk_size)[-1].error == "the file ends within the array"


def test_an_array_that_is_cut_off_gives_what_is_whole() -> None:
    for content in ('[{"a": 1}, {"a": 2', '[{"a": 1}, {"a": "x', '[{"a": 1},', '[{"a": 1}, '):
        whole, rest = read(content, chunk_size=4)
        assert whole.value == {"a": 1}
        assert (rest.place, rest.error) == ("item 2", "the file ends within the array")


def test_a_line_that_is_not_utf_8_is_told() -> None:
    bad, good = read(b'{"a": "\xff"}\n{"a": "\xc3\xa9"}')
    assert bad.error == "is not UTF-8: invalid start byte at byte 7"
    assert good.value == {"a": "é"}


def test_bytes_that_are_not_utf_8_do_not_end_an_array() -> None:
    bad, good = read(b'[{"a": "\xff"}, {"a": 1}]', chunk_size=3)
    assert bad.error == "is not UTF-8: invalid start byte at byte 7"
    assert good.value == {"a": 1}


def test_a_byte_order_mark_and_windows_line_ends_are_nothing() -> None:
    assert values(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n') == [{"a": 1}, {"a": 2}]
    assert values(b"\xef\xbb\xbf [1, 2]\r\n") == [1, 2]


def test_an_empty_file_has_no_records() -> None:
    assert read("") == read("\n \n") == read("[]") == read(" [ ] ") == []


def test_nesting_without_end_is_told() -> None:
    bad, good = read('{"a":' + "[" * 100_000 + "]" * 100_000 + '}\n{"a": 1}')
    assert bad.error == "is nested too deeply"
    assert good.value == {"a": 1}


def test_escapes_that_a_chunk_cuts_are_read() -> None:
    items = [{"a": 'say "\\"'}, {"b": "\\\\"}, {"c": "]}"}]
    for chunk_size in range(1, 20):
        assert values(json.dumps(items), chunk_size) == items


def test_a_record_that_is_too_large_is_told_and_the_next_one_read() -> None:
    long = json.dumps({"text": "x" * 1000})
    for content, noun in ((f'{long}\n{{"a": 1}}', "line"), (f'[{long}, {{"a": 1}}]', "item")):
        bad, good = list(read_records(io.BytesIO(content.encode()), chunk_size=10, max_bytes=100))
        assert bad == Record(f"{noun} 1", error="is larger than 100 bytes")
        assert good.value == {"a": 1}


@pytest.mark.parametrize("beginning", [b'{"text": "', b'[{"text": "', b'{\n"text": "', b'["a",  '])
def test_one_endless_record_takes_bounded_memory(beginning: bytes) -> None:
    class Endless(io.RawIOBase):
        left = 400

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return beginning if self.left == 399 else b"x" * 100_000 if self.left > 0 else b""

    tracemalloc.start()
    records = list(read_records(Endless(), max_bytes=1_000_000))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records[-1].error in {
        "is larger than 1,000,000 bytes",
        "the file ends within the array",
        "the file ends within an object",
    }
    assert peak < 4_000_000


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(re.sub("(?<=.)__", "/", name) + ".json", content)
    return buffer.getvalue()


def test_the_matching_files_of_a_zip_are_read() -> None:
    raw = zipped(user=b"{}", export__chats_2=b"[2, 3]", export__chats_1=b"[1")
    assert list(read_records(io.BytesIO(raw), members="chats*.json")) == [
        Record("export/chats_1.json, item 1", error="the file ends within the array"),
        Record("export/chats_2.json, item 1", 2),
        Record("export/chats_2.json, item 2", 3),
    ]


def test_what_macos_adds_to_a_zip_is_no_file_of_records() -> None:
    assert values(zipped(**{"chats": b"[1]", "__MACOSX/._chats": b"\0\5\26\7"})) == [1]


def test_a_zip_that_cannot_be_read_is_told() -> None:
    (record,) = read_records(io.BytesIO(zipped(user=b"{}")), members="chats*.json")
    assert record == Record("ZIP", error="has no file chats*.json")
    raw = bytearray(zipped(chats=b"[1, 2]" * 50))
    raw[40:44] = b"\xff" * 4
    for damaged in (bytes(raw), bytes(raw[:60])):
        assert (read(damaged)[-1].error or "").startswith("cannot be read: ")

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    (record,) = read_records(Pipe(bytes(raw)))
    assert record.error == "cannot be read from a pipe: name the file"


def test_a_bad_file_of_a_zip_hides_no_other() -> None:
    raw = bytearray(zipped(a=b"[1, 2]" * 50, b=b"[3]"))
    raw[40:44] = b"\xff" * 4
    bad, good = read(bytes(raw))
    assert (bad.place, (bad.error or "")[:16]) == ("a.json", "cannot be read: ")
    assert good == Record("b.json, item 1", 3)


def test_a_changed_zip_raises_nothing() -> None:
    raw, chance = zipped(é=b"[1, 2]", b=b"[3]"), random.Random(7)
    for _ in range(2_000):
        changed = bytearray(raw)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(4, len(raw))] = chance.choice((0, 255, chance.randrange(256)))
        read(bytes(changed))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_memory_does_not_follow_what_a_zip_unpacks_to(compression: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, archive.open("bomb.json", "w") as file:
        for _ in range(100):
            file.write(b" " * (1 << 20))
    buffer.seek(0)
    tracemalloc.start()
    (record,) = read_records(buffer, max_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record.error is not None
    assert peak < 10_000_000


def test_a_large_array_is_never_held_whole() -> None:
    class Endless(io.RawIOBase):
        left = 200

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"[" * (self.left == 199) + b'{"text": "' + b"x" * 100_000 + b'"},' if self.left >= 0 else b""

    tracemalloc.start()
    count = sum(record.error is None for record in read_records(Endless()))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200
    assert peak < 3_000_000
