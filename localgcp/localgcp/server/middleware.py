"""Middleware of every method on every protocol: fault injection, the ledger, and unexpected errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import grpc

from localgcp.kit.call import Call
from localgcp.kit.errors import ApiError

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

T = TypeVar("T")
_log = logging.getLogger(__name__)


async def as_call(cloud: Cloud, call: Call, resource: str, write: bool, work: Callable[[], Awaitable[T]]) -> T:
    """Runs `work` as one call: faults before, work, faults after, one ledger entry. Raises nothing but ApiError and
    CancelledError (the caller went away)."""
    began, clock, code = time.time(), time.perf_counter(), "OK"
    try:
        await cloud.faults.point("before", call.api, call.method, resource, write)
        result = await work()
        await cloud.faults.point("after", call.api, call.method, resource, write)
        return result
    except ApiError as error:
        code = error.code.name
        raise
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    except Exception as error:
        code = "INTERNAL"
        _log.exception("%s/%s failed unexpectedly", call.api, call.method)
        raise ApiError(grpc.StatusCode.INTERNAL, f"internal error in localgcp: {type(error).__name__}") from error
    finally:
        cloud.ledger.call(
            call, resource=resource, code=code, began=began, seconds=time.perf_counter() - clock, write=write
        )
