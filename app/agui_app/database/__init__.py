"""PostgreSQL: the pool, the password, Cloud SQL by name, and the tables."""
