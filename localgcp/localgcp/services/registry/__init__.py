"""The read side of an OCI image registry."""
