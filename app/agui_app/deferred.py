"""Packages that ag-ui-adk and ADK import at start and this application may never use, imported at first use instead.

ag-ui-adk imports its A2UI generator and ADK its OAuth2 client unconditionally, by names (`from x import y`), which the
standard library's LazyLoader cannot delay. Together they are half of the time until `/readyz` and a quarter of the
memory. A deferred module hands out stand-ins; calling one, or asking it for anything, imports the real package and
puts the real objects in the stand-ins' places, wherever they were imported to.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

UNUSED = ("ag_ui_adk.a2ui_tool", "authlib")
_LOCK = threading.RLock()


class _StandIn:
    """One name of a deferred module."""

    def __init__(self, finder: _Finder, module: str, name: str) -> None:
        self.__dict__.update(_finder=finder, _module=module, _name=name)

    def _real(self) -> Any:
        self._finder.load()
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by inspection, not by use
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __instancecheck__(self, instance: Any) -> bool:
        """Nothing can be an instance of a class that was not loaded."""
        return self._finder.loaded and isinstance(instance, self._real())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._real(),)


class _Module(ModuleType):
    """Answers for a module that was not imported yet."""

    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _StandIn(self._finder, self.__name__, name)
        setattr(self, name, value)
        return value


class _Finder(MetaPathFinder, Loader):
    """Finds one package and everything below it, until it is really needed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.loaded = False

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """A spec for the package and its modules."""
        if self.loaded or not (fullname + ".").startswith(self._root + "."):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module of stand-ins."""
        return _Module(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""

    def load(self) -> None:
        """Imports the real package and swaps the stand-ins that were handed out."""
        with _LOCK:
            if self.loaded:
                return
            self.loaded = True
            sys.meta_path.remove(self)
            below = self._root + "."
            ours = [name for name in sys.modules if (name + ".").startswith(below)]
            for name in ours:
                del sys.modules[name]
            for name in ours:
                importlib.import_module(name)
            for module in list(sys.modules.values()):
                self._swap(module)

    def _swap(self, module: ModuleType) -> None:
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if type(value) is _StandIn and value._finder is self:
                setattr(module, name, value._real())
            elif type(value) is _Module and value._finder is self:
                setattr(module, name, sys.modules[value.__name__])


def defer_unused(packages: Sequence[str] = UNUSED) -> None:
    """From now on these packages are imported at first use. Those that are imported already stay as they are."""
    for package in packages:
        if package not in sys.modules:
            sys.meta_path.insert(0, _Finder(package))
