"""Port 3307 of Cloud SQL instances: TLS, client certificates and IAM logins."""
