"""Fixtures that all tests may ask for live in tests/support, one plugin per thing that they start."""

from __future__ import annotations

pytest_plugins = [
    "controlplane_fixture",
    "postgres_fixture",
    "app_fixture",
    "cloud_fixture",
    "system_fixture",
    "stage_fixture",
]
