"""The migration command: moves the schema, lints migrations, verifies records."""
