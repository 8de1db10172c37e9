"""The real Cloud SQL Auth Proxy, built once from its Go module, so that tests connect as production does."""
