"""One revision: whether it exists, and the secret versions that its instances read when they start.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#revisions
"""

from __future__ import annotations

from agui_operator.core.names import Names
from agui_operator.gcp.transport.absent import or_none
from agui_operator.gcp.transport.clients import Cloud

Versions = tuple[tuple[str, str], ...]  # secret and version


async def observe(cloud: Cloud, names: Names, release: str) -> Versions | None:
    """The secret versions of the release's revision. None: the revision does not exist. One call. Raises CloudError."""
    from google.cloud import run_v2

    path = f"{names.service_path}/revisions/{names.revision(release)}"
    found = await or_none(cloud.rpc("Revisions.GetRevision", run_v2.GetRevisionRequest(name=path), path))
    if found is None or found.delete_time:
        return None
    references = (v.value_source.secret_key_ref for box in found.containers for v in box.env if v.value_source)
    return tuple(sorted({(str(r.secret), str(r.version)) for r in references if r.secret}))
