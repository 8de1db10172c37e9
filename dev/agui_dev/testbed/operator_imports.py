"""Imports what the operator imports. When coverage is measured, only other packages: a fork then imports the operator's
own modules itself, and its coverage sees it. What is missing here is imported by each fork, which only costs time.
"""

from __future__ import annotations

import importlib

from agui_dev.testbed.fork_server import is_measured

MODULES = (
    "aiohttp.web",
    "google.api_core.operations_v1",
    "google.auth.transport.requests",
    "google.cloud.monitoring_v3",
    "google.cloud.run_v2",
    "google.cloud.secretmanager_v1",
    "grpc.aio",
    "jinja2",
    "jsonpatch",
    "kopf",
    "prometheus_client",
    "pydantic.alias_generators",
    "re2",
    "yaml",
)

for module in MODULES if is_measured() else (*MODULES, "agui_operator.handlers.serve"):
    importlib.import_module(module)
