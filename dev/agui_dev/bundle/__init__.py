"""The browser application's release bundle, built from anywhere and kept by what it was built from."""

from __future__ import annotations

from agui_dev.bundle.build import Bundle, build, kept

__all__ = ["Bundle", "build", "kept"]
