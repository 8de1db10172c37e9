"""Lists of Google Cloud, page by page until there is no next one: the only place that knows how pages are asked for.

Source: https://google.aip.dev/158
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agui_operator.gcp.transport.clients import Cloud, path_part
from agui_operator.gcp.transport.rest import RestRequest

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
    separator = "&" if "?" in path else "?"
    here = path
    while True:
        page = await cloud.rest(RestRequest(method, here, project))
        yield page
        token = str(page.get("nextPageToken") or "")
        if not token:
            return
        here = f"{path}{separator}pageToken={path_part(token)}"
