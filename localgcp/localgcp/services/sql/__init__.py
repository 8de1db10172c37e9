"""Cloud SQL Admin API v1."""
