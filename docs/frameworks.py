"""Stand in for agent frameworks, so that the site is built without them: modules that have a class of every name."""

import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

FRAMEWORKS = {"agents", "claude_agent_sdk", "langchain_core", "langgraph", "pydantic_ai"}


@cache
def class_named(module: str, name: str) -> type:
    """Return a class that adapters can derive from, and name in types; for pydantic it is any value."""
    if name.startswith("__"):
        raise AttributeError(name)
    attributes = {
        "__module__": module,
        "__class_getitem__": classmethod(lambda cls, item: cls),
        "__get_pydantic_core_schema__": classmethod(lambda cls, source, handler: {"type": "any"}),
    }
    return type(name, (), attributes)


class StandIns(MetaPathFinder, Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(name, self, is_package=True) if name.partition(".")[0] in FRAMEWORKS else None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = lambda name: class_named(module.__name__, name)  # type: ignore[method-assign]


def stand_in() -> None:
    sys.meta_path.insert(0, StandIns())
