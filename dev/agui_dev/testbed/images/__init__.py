"""Catalogues of container images for the local cloud, and the small programs that these images run."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
SMALL_IMAGES = _FOLDER / "small.yaml"
SHOP_IMAGES = _FOLDER / "shop.yaml"
WEB_PROGRAM = _FOLDER / "web.py"
