"""The Cloud SQL Auth Proxy, pinned by `dev/authproxy/go.mod` and `go.sum`.

Source: https://github.com/GoogleCloudPlatform/cloud-sql-proxy
"""

from __future__ import annotations

from agui_dev.go_program import GoProgram
from agui_dev.paths import ROOT

PROGRAM = GoProgram(
    "cloud-sql-proxy",
    "the Cloud SQL Auth Proxy",
    "authproxy",
    ROOT / "dev" / "authproxy",
    "github.com/GoogleCloudPlatform/cloud-sql-proxy/v2",
    cpu_seconds=80.0,
)
