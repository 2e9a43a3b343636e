"""
Records of a file, one at a time: JSON lines, JSON arrays, JSON objects over several lines, or a ZIP with such files.

A file is never held whole: memory follows the largest record, and no record is larger than ``MAX_RECORD_BYTES``. A
record that cannot be read is reported with its place and does not end the reading.
"""

import codecs
import re
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from context_store.exact_json import loads
from context_store.zips import BROKEN_ZIP, open_member

CHUNK_SIZE = 1 << 20
# Chats of 100,000 long messages stay below it. Parsed, a record takes several times as much memory.
MAX_RECORD_BYTES = 256 << 20
ZIP_SIGNATURE = b"PK\x03\x04"


class Record(NamedTuple):
    """One record of a file: ``place`` names it to a person; with an ``error`` there is no value."""

    place: str
    value: Any = None
    error: str | None = None


def read_records(
    file: BinaryIO, *, members: str = "*.json*", chunk_size: int = CHUNK_SIZE, max_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Record]:
    """
    Give the records of a file opened in binary mode.

    Of a ZIP the files are read whose names match ``members``, a pattern of ``fnmatch`` without folders.
    """
    chunks = iter(partial(file.read, chunk_size), b"")
    first = next(chunks, b"")
    if not first.startswith(ZIP_SIGNATURE):
        yield from _read_chunks(chain([first], chunks), max_bytes)
    elif not file.seekable():
        yield Record("ZIP", error="cannot be read from a pipe: name the file")
    else:
        yield from _read_zip(file, members, chunk_size, max_bytes)


def _read_zip(file: BinaryIO, members: str, chunk_size: int, max_bytes: int) -> Iterator[Record]:
    try:
        archive = zipfile.ZipFile(file)
    except BROKEN_ZIP as error:
        yield Record("ZIP", error=f"cannot be read: {error}")
        return
    with archive:
        # A list can name one file many times. What macOS adds beside each file holds none of it.
        found = (name for name in archive.namelist() if not name.startswith("__MACOSX/"))
        names = {name for name in found if fnmatch(name.rpartition("/")[2], members)}
        if not names:
            yield Record("ZIP", error=f"has no file {members}")
        for name in sorted(names):
            try:
                with open_member(archive, name) as member:
                    for record in _read_chunks(iter(partial(member.read, chunk_size), b""), max_bytes):
                        yield record._replace(place=f"{name}, {record.place}")
            except BROKEN_ZIP as error:
                yield Record(name, error=f"cannot be read: {error}")


def _read_chunks(chunks: Iterator[bytes], max_bytes: int) -> Iterator[Record]:
    first = next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    beginning = first.lstrip()
    is_array = beginning.startswith(b"[")
    if is_array or beginning.split(b"\n", 1)[0].strip() == b"{":
        items = split_items(chain([beginning], chunks), is_array=is_array, max_bytes=max_bytes)
        noun = "item"
    else:
        items = _split_lines(chain([first], chunks), max_bytes)
        noun = "line"
    number = 0
    try:
        for number, item in enumerate(items, start=1):
            if item is None or item.strip():
                yield _parse(f"{noun} {number}", item, max_bytes)
    except EOFError as error:
        yield Record(f"{noun} {number + 1}", error=str(error))


class _Item:
    """The bytes of one record as they come in, forgotten when they get too many."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size > self.max_bytes:
            self.parts = []
        else:
            self.parts.append(part)

    def take(self) -> bytes | None:
        """Return the record, or ``None`` for one that was too large, and begin the next one."""
        taken = None if self.size > self.max_bytes else b"".join(self.parts)
        self.parts, self.size = [], 0
        return taken


def _split_lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | None]:
    line = _Item(max_bytes)
    for chunk in chunks:
        begun, *others = chunk.split(b"\n")
        line.add(begun)
        for other in others:
            yield line.take()
            line.add(other)
    yield line.take()


# What is passed over in one step, by state. Whole strings too, so that only one that goes on in the next chunk is a
# state of its own; below the level of items commas say nothing.
_BETWEEN = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_WITHIN = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRING = re.compile(rb"(?:[^\"\\]++|\\.)*+", re.DOTALL)


# Not ijson: its parser cannot go on after an error, so one bad item would hide all that follow it.
def split_items(chunks: Iterable[bytes], *, is_array: bool, max_bytes: int) -> Iterator[bytes | None]:
    """
    Give the bytes of each item of JSON arrays, or of each of the objects that follow each other.

    Only brackets, commas and strings are looked at, so that an item with an error in it does not hide the next one:

        [ {"a": [1, 2]}, 7 ]        depth 1: between the items of an array, a comma or "]" ends one
        1 2     3    2 1   0        depth 0: between objects that follow each other, "}" ends one

    An item of more than ``max_bytes`` is ``None``. Raises EOFError when the file ends within an array or an object.
    """
    between = int(is_array)
    depth, in_string, item, escape = 0, False, _Item(max_bytes), b""
    for chunk in chunks:
        chunk, escape = escape + chunk, b""
        start = position = 0
        while True:
            skipped = _STRING if in_string else _WITHIN if depth > between else _BETWEEN
            position = skipped.match(chunk, position).end()  # type: ignore[union-attr]
            sign = chunk[position : position + 1]
            if sign in (b"", b"\\"):  # The end; what is escaped comes with the next chunk.
                chunk, escape = chunk[:position], sign
                break
            position += 1
            if sign == b'"':
                in_string = not in_string
            elif sign in b"[{":
                depth += 1
                start = position if is_array and depth == 1 else start
            elif sign in b"]}":
                depth -= 1
            if depth == 0 and is_array:
                item.add(chunk[start : position - 1])
                if (last := item.take()) is None or last.strip():
                    yield last
                # Another array may follow, as in files that were put together.
                start = position
            elif depth == between and sign == (b"," if is_array else b"}"):
                item.add(chunk[start : position - is_array])
                yield item.take()
                start = position
            # A bracket too many, between objects, spoils the record behind it alone.
            depth = max(depth, 0)
        item.add(chunk[start:])
    is_blank = (last := item.take()) is not None and not last.strip()
    if depth or not (is_array or is_blank):
        raise EOFError(f"the file ends within {'the array' if is_array else 'an object'}")
    if not is_blank:
        # What stands behind the last array.
        yield last


def _parse(place: str, item: bytes | None, max_bytes: int) -> Record:
    if item is None:
        return Record(place, error=f"is larger than {max_bytes:,} bytes")
    try:
        return Record(place, loads(item.decode()))
    except RecursionError:
        return Record(place, error="is nested too deeply")
    except UnicodeDecodeError as error:
        return Record(place, error=f"is not UTF-8: {error.reason} at byte {error.start}")
    except ValueError as error:
        return Record(place, error=f"is not JSON: {error}")
