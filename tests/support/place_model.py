"""A release's place, as tests of several modules use it."""

from __future__ import annotations

from agui_operator.core.environment import Edge, Place
from agui_operator.core.place import PlaceRecord

EDGE = Edge("shop.example", "map", "pages", "api", ("/api", "/ws"))
PLACE = Place("p", "r", "assets", "artifacts", "main", EDGE, {"oncall": "projects/p/notificationChannels/1"})
RECORD = PlaceRecord("prod", "shop-abc", "owner", PLACE)
