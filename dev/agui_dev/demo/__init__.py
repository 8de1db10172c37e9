"""The main job, played on one machine: real API server, local Google Cloud, the operator, five releases."""
