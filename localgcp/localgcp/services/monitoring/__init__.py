"""Cloud Monitoring API v3."""
