"""The `localgcp` command."""
