"""Rollouts under random deaths and random events, on real parts, with a verdict on each."""
