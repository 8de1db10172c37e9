"""A client may pass things on to the agents, but not a tool."""

from __future__ import annotations

import pytest

from agui_app.agents.stream_shape import without_tools


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"injectA2UITool": True, "colour": "blue"}, {"colour": "blue"}),
        ({"injectA2UITool": "generate_a2ui"}, {}),
        ({}, {}),
        (None, None),
        ([1], [1]),
    ],
)
def test_forwarded_properties(given, left):
    assert without_tools(given) == left
