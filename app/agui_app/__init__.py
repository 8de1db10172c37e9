"""The deployed application: an AG-UI agent backend, deterministic offline."""
