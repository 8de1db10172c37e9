"""The bill of materials that every Python image carries (CycloneDX JSON, https://cyclonedx.org/docs/)."""

from __future__ import annotations

import json
from typing import Any

from agui_dev.images.container import container
from agui_dev.images.store import Store
from agui_dev.steps import StepFailed

PATH = "/srv/sbom.cdx.json"


def read_sbom(store: Store, image: str) -> dict[str, Any]:
    """The document in `image`. Raises StepFailed when the image has none, or one that is not CycloneDX."""
    with container(store, image) as made:
        try:
            document = json.loads(made.read(PATH))
        except (FileNotFoundError, ValueError) as exc:
            raise StepFailed(f"{image} holds no readable {PATH}: {exc}") from None
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        raise StepFailed(f"{PATH} of {image} is no CycloneDX document.")
    return document
