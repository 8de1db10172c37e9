"""Release operator for AG-UI agent applications on Google Cloud."""
