"""Runs of the agents: their events, the signals between instances, and the threads that they belong to."""
