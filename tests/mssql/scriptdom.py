"""Microsoft's T-SQL grammar: ScriptDom, with the .NET that comes in the wheel `mssql-cli`."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import clr_loader
import pythonnet
from clr_loader.types import Runtime, RuntimeInfo

# The newest grammar of the wheel is that of SQL Server 2019.
PARSERS = {2017: "TSql140Parser", 2019: "TSql150Parser", 2022: "TSql150Parser", 2025: "TSql150Parser"}


class Finding(NamedTuple):
    """What the grammar has against a statement, and where."""

    line: int
    column: int
    message: str


class CoreRuntime(Runtime):
    """The .NET Core of a folder; clr_loader starts only one that is installed."""

    def __init__(self, folder: Path, *more: Path) -> None:
        self.library = ctypes.CDLL(str(folder / "libcoreclr.so"))
        self.host, self.domain = ctypes.c_void_p(), ctypes.c_uint()
        assemblies = ":".join(map(str, [*folder.glob("*.dll"), *more]))
        properties = {
            "TRUSTED_PLATFORM_ASSEMBLIES": assemblies,
            "APP_PATHS": str(folder),
            "NATIVE_DLL_SEARCH_DIRECTORIES": f"{folder}/",
            # Else it wants the ICU of the machine.
            "System.Globalization.Invariant": "true",
        }
        names = (ctypes.c_char_p * len(properties))(*map(str.encode, properties))
        values = (ctypes.c_char_p * len(properties))(*map(str.encode, properties.values()))
        executable = sys.executable.encode()
        host, domain = ctypes.byref(self.host), ctypes.byref(self.domain)
        _check(self.library.coreclr_initialize(executable, b"tests", len(properties), names, values, host, domain))

    def _get_callable(self, assembly_path: Any, typename: str, function: str) -> Any:
        pointer = ctypes.c_void_p()
        name = Path(assembly_path).stem.encode()
        delegate = ctypes.byref(pointer)
        _check(
            self.library.coreclr_create_delegate(
                self.host, self.domain, name, typename.encode(), function.encode(), delegate
            )
        )
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(pointer.value)
        return lambda buffer, size: call(int(clr_loader.ffi.ffi.cast("intptr_t", buffer)), size)

    def shutdown(self) -> None:
        """Leave the runtime to the end of the process: .NET Core cannot be started twice in one."""

    def info(self) -> RuntimeInfo:
        return RuntimeInfo("CoreCLR", "2.2", initialized=True, shutdown=False, properties={})


def _check(result: int) -> None:
    if result < 0:
        raise RuntimeError(f".NET Core did not start: {result & 0xFFFFFFFF:#x}")


@functools.cache
def _load() -> Any:
    spec = importlib.util.find_spec("mssqlcli")
    if spec is None or spec.origin is None:
        raise RuntimeError("The wheel mssql-cli is not installed.")
    folder = Path(spec.origin).parent / "mssqltoolsservice" / "bin"
    os.environ.setdefault("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
    pythonnet.load(CoreRuntime(folder, Path(pythonnet.__file__).parent / "runtime" / "Python.Runtime.dll"))
    import clr

    clr.AddReference(str(folder / "Microsoft.SqlServer.TransactSql.ScriptDom.dll"))
    from Microsoft.SqlServer.TransactSql import ScriptDom  # type: ignore[import-not-found]

    return ScriptDom


def parse(sql: str, version: int = 2019) -> list[Finding]:
    """Return what that version's grammar finds wrong with the statements."""
    parser = getattr(_load(), PARSERS[version])(True)
    from System.IO import StringReader  # type: ignore[import-not-found]

    _, errors = parser.Parse(StringReader(sql), None)
    return [Finding(error.Line, error.Column, error.Message) for error in errors]
