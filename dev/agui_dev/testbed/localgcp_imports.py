"""Imports what the local cloud imports. When coverage is measured, only other packages: a fork then imports the local
cloud's own modules itself, and its coverage sees it. What is missing here is imported by each fork, which only costs
time.
"""

from __future__ import annotations

import importlib

from agui_dev.testbed.fork_server import is_measured

MODULES = (
    "aiohttp.web",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.x509.oid",
    "google.cloud.monitoring_v3",
    "google.cloud.run_v2",
    "google.cloud.secretmanager_v1",
    "google.iam.v1.policy_pb2",
    "google.longrunning.operations_pb2",
    "google_crc32c",
    "grpc.aio",
    "yaml",
)

for module in MODULES if is_measured() else (*MODULES, "localgcp.cli.serve"):
    importlib.import_module(module)
