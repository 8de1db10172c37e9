"""PostgreSQL servers behind Cloud SQL instances."""
