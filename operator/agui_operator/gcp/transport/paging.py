"""Lists of Google Cloud, page by page until there is no next one: the only place that knows how pages are asked for.

Source: https://google.aip.dev/158
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agui_operator.gcp.transport.clients import Cloud, path_part

Json = dict[str, Any]


async def pages(cloud: Cloud, method: str, request: Any, resource: str) -> AsyncIterator[Any]:
    """The replies of an RPC that lists, one for each page. Raises CloudError."""
    while True:
        page = await cloud.rpc(method, request, resource)
        yield page
        token = str(page.next_page_token)
        if not token:
            return
        request.page_token = token


async def rest_pages(cloud: Cloud, method: str, path: str, *, project: str) -> AsyncIterator[Json]:
    """The replies of a REST method that lists, one for each page. Raises CloudError."""
    token = ""
    while True:
        separator = "&" if "?" in path else "?"
        page = await cloud.rest(method, f"{path}{separator}pageToken={token}" if token else path, project=project)
        yield page
        token = path_part(str(page.get("nextPageToken") or ""))
        if not token:
            return
