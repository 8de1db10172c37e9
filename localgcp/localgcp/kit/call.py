"""One API call as its service sees it: who calls, under which name, and where to note what really changed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localgcp.kit.ledger import Ledger


def new_request_id() -> str:
    return uuid.uuid4().hex[:16]


@dataclass(slots=True)
class Call:
    """`api` and `method` are the ledger's names ("google.cloud.run.v2.Services", "UpdateService"; REST-only APIs:
    "storage", "storage.objects.insert"); `metadata` are the request's headers with lower-case names."""

    api: str
    method: str
    metadata: Mapping[str, str]
    ledger: Ledger
    caller: str = ""
    request_id: str = field(default_factory=new_request_id)

    def effect(self, kind: str, resource: str, detail: str = "") -> None:
        """Notes one real change in the ledger. `kind` says what happened (create, update, delete, start, write...);
        call it once per change, after the change is durable. Never put a secret into `detail`."""
        self.ledger.effect(self, kind, resource, detail)


def caller_of(metadata: Mapping[str, str]) -> str:
    """Who calls: the user agent, followed by what Google's client libraries say of themselves."""
    agent, client = metadata.get("user-agent", ""), metadata.get("x-goog-api-client", "")
    return f"{agent} {client}".strip()
