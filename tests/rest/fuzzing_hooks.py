"""What schemathesis has to know beyond the schema: which ids can be printed, and that metadata has no U+0000."""

from typing import Any

import schemathesis
from hypothesis import strategies as st

printable = st.characters(exclude_categories=["C", "Z"])
inner = st.text(printable | st.just(" "), max_size=40)
identifiers = st.builds("{}{}{}".format, printable, inner, printable) | printable

schemathesis.openapi.format("identifier", identifiers)
schemathesis.openapi.format(
    "encoded-identifier", identifiers.map(lambda text: text.replace("~", "~0").replace("/", "~1"))
)


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    return not (isinstance(body, dict) and has_nul(body.get("metadata")))


def has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\0" in key or has_nul(item) for key, item in value.items())
    return any(map(has_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value
