"""The ways in: AG-UI over SSE, CopilotKit's runtime protocol, WebSocket."""
