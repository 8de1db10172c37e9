"""Writes what the engine says about an object: its status, and the removal of an answered request."""

from __future__ import annotations

from typing import Any

from agui_operator.core import requests
from agui_operator.core.measured import only_measured
from agui_operator.core.merge import merge_patch, replacing_patch
from agui_operator.engine.cluster import metrics
from agui_operator.engine.cluster.feed import SILENT, Feed
from agui_operator.engine.cluster.kube import Kube
from agui_operator.engine.deployment.cache import ObjectCache
from agui_operator.engine.deployment.scope import Scope

MEASURED = 10.0  # seconds between two writes that only say what was measured since


class Reporter:
    """One per process."""

    def __init__(self, kube: Kube, feed: Feed = SILENT) -> None:
        self._kube, self._feed = kube, feed

    async def write(self, scope: Scope, cache: ObjectCache, status: dict[str, Any]) -> None:
        """Writes the status if it says anything new; then all of it, because somebody may have replaced what was
        written before, and the next process starts from it. Measurements alone wait for a while."""
        before = cache.status if cache.changed_status is None else cache.changed_status
        if not merge_patch(before, status):
            return
        if cache.changed_status is None and cache.is_just_written(MEASURED) and only_measured(before, status):
            return
        patch = replacing_patch(before, status)
        version = await self._kube.patch_status(scope.namespace, scope.name, cache.uid, patch)
        metrics.STATUS_WRITES.inc()
        cache.written(status, version)
        self._feed.status_written(scope.namespace, scope.name, cache.uid, status)

    async def acknowledge(self, scope: Scope, cache: ObjectCache) -> None:
        """Removes the annotations of requests that were answered; the answers are in the status by now. Bodies that the
        watch delivered before are not asked for requests any more, or one would be obeyed twice."""
        for request in cache.answered:
            annotation = requests.ANNOTATIONS[request.kind]
            version = await self._kube.remove_annotation(scope.namespace, scope.name, annotation, request.value)
            cache.acknowledged(request, version)
