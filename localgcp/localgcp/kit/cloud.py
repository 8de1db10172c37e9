"""The local cloud as one object: built once by `localgcp serve`, handed to every service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from localgcp.kit.catalogue import Catalogue
from localgcp.kit.faults import Faults
from localgcp.kit.interfaces import ImageCatalogue
from localgcp.kit.ledger import Ledger
from localgcp.kit.operations import Operations
from localgcp.kit.service import Service, Slot, call_hook
from localgcp.kit.state import STATE_FILE, open_state
from localgcp.kit.store import Store

if TYPE_CHECKING:
    from localgcp.kit.settings import Settings

T = TypeVar("T")


class Cloud:
    """`parts` replaces parts of the services by ready objects, by slot: tests put fakes there."""

    def __init__(
        self,
        settings: Settings,
        services: Iterable[Service] = (),
        parts: Mapping[Slot[Any], object] | None = None,
        catalogue: ImageCatalogue | None = None,
    ) -> None:
        self.settings = settings
        self.services = tuple(services)
        open_state(settings.state_dir)
        self.store = Store(settings.state_dir / STATE_FILE)
        self.ledger = Ledger(settings.state_dir / "ledger.jsonl", keep=settings.ledger_memory)
        self.faults = Faults()
        self.operations = Operations(self.store, settings)
        self.catalogue: ImageCatalogue = catalogue or Catalogue.load(settings.catalogue)
        self._builders = {part.slot: part.build for service in self.services for part in service.parts}
        self._parts: dict[Slot[Any], Any] = dict(parts or {})
        self._building: list[Slot[Any]] = []
        for slot in self._builders:
            self.part(slot)

    def part(self, slot: Slot[T]) -> T:
        """The part in a slot, built when it is first asked for. Raises LookupError when no service provides it."""
        if slot not in self._parts:
            if slot not in self._builders:
                raise LookupError(f"no service of this cloud provides the part {slot.name!r}")
            if slot in self._building:
                cycle = " -> ".join(found.name for found in (*self._building, slot))
                raise LookupError(f"parts need each other while they are built: {cycle}")
            self._building.append(slot)
            try:
                self._parts[slot] = self._builders[slot](self)
            finally:
                self._building.pop()
        found: T = self._parts[slot]
        return found

    def find(self, slot: Slot[T]) -> T | None:
        """The part in a slot; None when no service of this cloud provides it."""
        return self.part(slot) if slot in self._parts or slot in self._builders else None

    async def start(self) -> None:
        """Opens the parts. Services that resume work after a restart register with `operations` before this."""
        for part in self._distinct():
            await call_hook(part, "open")

    async def reset(self) -> None:
        """Empties the parts."""
        for part in self._distinct():
            await call_hook(part, "reset")

    async def stop(self) -> None:
        await self.operations.stop()
        for part in reversed(self._distinct()):
            await call_hook(part, "close")
        self.ledger.close()
        self.store.close()

    def _distinct(self) -> list[Any]:
        """Each part once, in the order of the services: an object may be in several slots."""
        ordered = [self._parts[slot] for slot in self._builders]
        return list({id(part): part for part in ordered}.values())
