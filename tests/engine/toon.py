"""A reader of TOON 4 with commas, as strict as the specification: it checks lengths, widths, indents and escapes."""

import re
from typing import Any

HEADER = re.compile(
    r'^(?P<key>"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_.]*)?\[(?P<length>\d+)(?P<keyed>:?)\](?P<rest>.*)$', re.S
)
FIELD = re.compile(r'^(?P<key>"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_.]*):(?: (?P<value>.+))?$', re.S)
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}

Line = tuple[int, str]


def decode(text: str) -> Any:
    """Return what a document says."""
    lines: list[Line] = []
    for line in text.split("\n") if text else []:
        content = line.lstrip(" ")
        indent = len(line) - len(content)
        assert content, "a blank line"
        assert indent % 2 == 0, line
        assert content == content.rstrip(" "), f"trailing spaces: {line!r}"
        assert not content.startswith("#"), "a comment"
        lines.append((indent // 2, content))
    if not lines:
        return {}
    reader = Reader(lines)
    first = lines[0][1]
    header = HEADER.match(first)
    if first == "[]":
        value: Any = []
        reader.position = 1
    elif header and header["key"] is None:
        value = reader.array(header, 0)
    elif len(lines) == 1 and not header and not FIELD.match(first):
        return scalar(first)
    else:
        value = reader.object(0)
    assert reader.position == len(lines), f"left over: {lines[reader.position :]}"
    return value


class Reader:
    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.position = 0

    def at(self, depth: int) -> str | None:
        """Return the next line if it lies at the depth."""
        if self.position < len(self.lines) and self.lines[self.position][0] == depth:
            return self.lines[self.position][1]
        return None

    def object(self, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        while (line := self.at(depth)) is not None and not line.startswith("-"):
            key, item = self.field(line, depth)
            assert key not in value, f"twice: {key}"
            value[key] = item
        return value

    def field(self, line: str, depth: int) -> tuple[str, Any]:
        header = HEADER.match(line)
        if header and header["key"] is not None:
            return unquoted_key(header["key"]), self.array(header, depth)
        field = FIELD.match(line)
        assert field, f"no field: {line!r}"
        self.position += 1
        key = unquoted_key(field["key"])
        if field["value"] is None:
            return key, self.object(depth + 1)
        return key, [] if field["value"] == "[]" else scalar(field["value"])

    def array(self, header: re.Match[str], depth: int) -> Any:
        self.position += 1
        length, rest = int(header["length"]), header["rest"]
        if rest.startswith("{"):
            fields, rest = read_fields(rest)
            assert rest == ":", rest
            rows = [self.row(fields, depth + 1, keyed=bool(header["keyed"])) for _ in range(length)]
            return dict(rows) if header["keyed"] else rows
        assert not header["keyed"]
        assert rest.startswith(":"), rest
        if rest != ":":
            cells = split(rest.removeprefix(": "))
            assert len(cells) == length, header[0]
            return [scalar(cell) for cell in cells]
        return [self.item(depth + 1) for _ in range(length)]

    def row(self, fields: list[Any], depth: int, *, keyed: bool) -> Any:
        line = self.at(depth)
        assert line is not None, "a row is missing"
        self.position += 1
        key = None
        if keyed:
            field = FIELD.match(line)
            assert field, line
            key, line = unquoted_key(field["key"]), field["value"]
        cells = split(line)
        row = build(fields, iter(cells))
        assert count(fields) == len(cells), line
        return (key, row) if keyed else row

    def item(self, depth: int) -> Any:
        line = self.at(depth)
        assert line is not None, "an item is missing"
        if line == "-":
            self.position += 1
            return {}
        assert line.startswith("- "), line
        content = line.removeprefix("- ")
        header = HEADER.match(content)
        if header and header["key"] is None:
            return self.array(header, depth)
        if header or FIELD.match(content):
            # The fields of the object lie one deeper than its hyphen; so does what its first field holds.
            self.lines[self.position] = (depth + 1, content)
            return self.object(depth + 1)
        self.position += 1
        return scalar(content)


def read_fields(text: str) -> tuple[list[Any], str]:
    """Return the names in braces, nested ones as (name, names), and the rest of the line."""
    fields: list[Any] = []
    text = text.removeprefix("{")
    while True:
        match = re.match(r'"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_.]*', text)
        assert match, text
        name, text = unquoted_key(match[0]), text[match.end() :]
        if text.startswith("{"):
            inner, text = read_fields(text)
            fields.append((name, inner))
        else:
            fields.append(name)
        if text.startswith("}"):
            return fields, text[1:]
        assert text.startswith(","), text
        text = text[1:]


def build(fields: list[Any], cells: Any) -> dict[str, Any]:
    return {
        field if isinstance(field, str) else field[0]: scalar(next(cells))
        if isinstance(field, str)
        else build(field[1], cells)
        for field in fields
    }


def count(fields: list[Any]) -> int:
    return sum(1 if isinstance(field, str) else count(field[1]) for field in fields)


def split(text: str) -> list[str]:
    """Split at the commas that stand outside of quotes."""
    cells = re.findall(r'(?:^|,)((?:"(?:[^"\\]|\\.)*"|[^",])*)', text, re.S)
    assert ",".join(cells) == text, text
    return cells


def scalar(token: str) -> Any:
    if token.startswith('"'):
        return unquoted(token)
    assert not re.search(r'[:"\\\[\]{}\n\r\t]', token), f"should be quoted: {token!r}"
    assert token, "an empty token"
    assert token == token.strip(), f"should be quoted: {token!r}"
    if token in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[token]
    if NUMBER.fullmatch(token):
        return float(token) if any(letter in token for letter in ".eE") else int(token)
    assert not token.startswith("-"), f"should be quoted: {token!r}"
    return token


def unquoted_key(token: str) -> str:
    return unquoted(token) if token.startswith('"') else token


def unquoted(token: str) -> str:
    assert re.fullmatch(r'"(?:[^"\\\n\r\t]|\\["\\nrt]|\\u[0-9a-f]{4})*"', token, re.S), token
    return re.sub(
        r"\\(u[0-9a-f]{4}|.)",
        lambda match: ESCAPES[match[1]] if match[1] in ESCAPES else chr(int(match[1][1:], 16)),
        token[1:-1],
    )
