"""The site: ``tox -e docs``, or ``python -m sphinx -W docs build/site``."""

import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import django
from django.conf import settings
from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "context_store",
        *(
            f"context_store.adapters.{name}"
            for name in ("a2a", "claude_agent", "langgraph", "openai_agents", "pydantic_ai")
        ),
        "rest_framework",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()

from context_store import __version__  # noqa: E402
from docs.frameworks import stand_in  # noqa: E402
from docs.tables import TABLES, first_sentence, public_names  # noqa: E402

stand_in()
project = "django-context-store"
author = "django-context-store contributors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"{project} {release}"
# Nothing is fetched from elsewhere: the search runs in the browser, over an index that the build makes.
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["drawings.css", "tables.css"]
# Pages and whole names before names that only contain the word.
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_extra_path = ["openapi.yaml"]

myst_heading_anchors = 3
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
smartquotes = False

# Pages that lie outside of this folder, where people look for them.
OUTSIDE = {
    "readme": "README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "security": "SECURITY.md",
}


def take_from_outside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the repository's own pages in, and lead links to them to their places on the site."""
    if name := OUTSIDE.get(docname):
        text = (REPOSITORY / name).read_text()
        source[0] = re.sub(r"\]\((?!\w+:|#)", "](../", text).replace("](../docs/", "](")
    for place, name in OUTSIDE.items():
        source[0] = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(name)}", rf"](\1{place}.md", source[0])


class Table(SphinxDirective):
    """``{table} settings``: the table of that name, made from the code."""

    required_arguments: ClassVar = 1

    def run(self) -> list[nodes.Node]:
        for name in ("tables.py", "openapi.yaml"):
            self.env.note_dependency(str(REPOSITORY / "docs" / name))
        return self.parse_text_to_nodes(TABLES[self.arguments[0]](), allow_section_headings=True)


def leave_out_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:  # noqa: FBT001
    """Leave out the fields of named tuples that say nothing: the signature has them."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def miss_nothing(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names of the documented modules that no page has."""
    shown = env.get_domain("py").data["objects"]
    for name in public_names():
        if name not in shown:
            logger.warning("%s is public, and nowhere in the reference", name)


def write_llms(app: Sphinx, error: Exception | None) -> None:
    """Write ``llms.txt``: every page with the first sentence of it. https://llmstxt.org"""
    if error is not None or app.builder.name != "html":
        return
    lines = [f"# {project}\n\n> {about(app, 'index')}\n\n## Pages\n\n"]
    lines += [
        f"- [{app.env.titles[page].astext()}]({app.builder.get_target_uri(page)}): {about(app, page)}\n"
        for page in pages_in_order(app)
    ]
    (Path(app.outdir) / "llms.txt").write_text("".join(lines))


def about(app: Sphinx, page: str) -> str:
    found = app.env.get_doctree(page).findall(nodes.paragraph)
    return next((first_sentence(each.astext()) for each in found if isinstance(each.parent, nodes.section)), "")


def pages_in_order(app: Sphinx, page: str = "index") -> list[str]:
    below = app.env.toctree_includes.get(page, [])
    return [page, *(name for child in below for name in pages_in_order(app, child))]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("table", Table, override=True)
    app.add_lexer("output", TextLexer)
    app.connect("source-read", take_from_outside)
    app.connect("autodoc-skip-member", leave_out_fields)
    app.connect("env-check-consistency", miss_nothing)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
