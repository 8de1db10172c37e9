"""The metadata server: access tokens and identity tokens."""
