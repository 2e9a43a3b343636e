"""Renderers: context fragments as the text of a system prompt, in which nothing that a person typed is structure."""

from .base import Renderer
from .markdown import MarkdownRenderer
from .toml import TomlRenderer
from .toon import ToonRenderer
from .xml import XmlRenderer

__all__ = ["MarkdownRenderer", "Renderer", "TomlRenderer", "ToonRenderer", "XmlRenderer"]
