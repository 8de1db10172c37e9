"""Speed and size, measured from outside on real processes: API server, operator, local Google Cloud."""
