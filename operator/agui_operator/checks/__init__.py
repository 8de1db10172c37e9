"""Smoke checks: what is asked of a release before and after users meet it. One client makes every request."""
