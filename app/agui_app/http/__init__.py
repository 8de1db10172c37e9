"""What the application serves: AG-UI over SSE and WebSocket, CopilotKit's protocol, JSON, probes."""
