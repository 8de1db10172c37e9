"""Observe, decide, act: the loop that keeps one object true, and what it needs from the cluster around it."""
