"""
Records of a file, one at a time: JSON lines, one JSON array, or JSON objects over several lines.

A file is never held whole, and a record that is no JSON is told with its place and does not end the reading.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

CHUNK_SIZE = 1 << 20

# What can be passed over in one step: text, and whole strings in it. Below the top level commas say nothing.
_OUTSIDE = re.compile(r'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_INSIDE = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)


class Record(NamedTuple):
    """One record of a file: ``place`` names it to a person; with an ``error`` there is no value."""

    place: str
    value: Any = None
    error: str | None = None


def read_records(file: BinaryIO, *, chunk_size: int = CHUNK_SIZE) -> Iterator[Record]:
    """Give the records of a file opened in binary mode."""
    chunks = iter(lambda: file.read(chunk_size), b"")
    first = next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    beginning = first.lstrip()
    if beginning.startswith(b"["):
        yield from _read_items(_texts(chain([beginning], chunks)), is_array=True)
    elif beginning.split(b"\n", 1)[0].strip() == b"{":
        yield from _read_items(_texts(chain([beginning], chunks)), is_array=False)
    else:
        yield from _read_lines(chain([first], chunks))


def _read_lines(chunks: Iterable[bytes]) -> Iterator[Record]:
    for number, line in enumerate(_lines(chunks), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield Record(place, error=f"is not UTF-8: {error.reason} at byte {error.start}")
        else:
            yield _parse(place, text)


def _read_items(texts: Iterator[str], *, is_array: bool) -> Iterator[Record]:
    number = 0
    try:
        for number, text in enumerate(split_items(texts, is_array=is_array), start=1):
            yield _parse(f"item {number}", text)
    except EOFError as error:
        yield Record(f"item {number + 1}", error=str(error))


def split_items(texts: Iterator[str], *, is_array: bool) -> Iterator[str]:
    """
    Give the text of each item of one JSON array, or of each of the objects that follow each other.

    Only brackets and strings are looked at, so that an item with an error in it does not hide the next one. Raises
    EOFError when the text ends within an array or an object.
    """
    buffer, start, position, depth = next(texts, ""), int(is_array), int(is_array), 0
    while True:
        position = (_INSIDE if depth or not is_array else _OUTSIDE).match(buffer, position).end()  # type: ignore[union-attr]
        if position == len(buffer) or buffer[position] == '"':
            # A string that goes on is read again from its beginning: each time with twice as much.
            more = _take(texts, at_least=len(buffer) - start)
            if not more:
                break
            buffer, start, position = buffer[start:] + more, 0, position - start
            continue
        sign = buffer[position]
        if depth == 0 and is_array and sign in ",]":
            if sign == "," or buffer[start:position].strip():
                yield buffer[start:position]
            if sign == "]":
                return
            start = position + 1
        elif sign in "[{":
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0 and not is_array:
                yield buffer[start : position + 1]
                start = position + 1
        position += 1
    if is_array or buffer[start:].strip():
        raise EOFError(f"the file ends within {'the array' if is_array else 'an object'}")


def _take(texts: Iterator[str], *, at_least: int) -> str:
    taken = []
    while at_least >= 0 and (text := next(texts, "")):
        taken.append(text)
        at_least -= len(text)
    return "".join(taken)


def _texts(chunks: Iterable[bytes]) -> Iterator[str]:
    # Bytes that are no UTF-8 become lone surrogates, which the store refuses: the item is told, the others go on.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text
    yield decoder.decode(b"", final=True)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for part in others:
            yield b"".join(begun)
            begun = [part]
    yield b"".join(begun)


def _parse(place: str, text: str) -> Record:
    try:
        return Record(place, json.loads(text))
    except RecursionError:
        return Record(place, error="is nested too deeply")
    except ValueError as error:
        return Record(place, error=f"is not JSON: {error}")
