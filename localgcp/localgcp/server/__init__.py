"""The server: one port for gRPC and REST, the method table, middleware and the admin API."""
