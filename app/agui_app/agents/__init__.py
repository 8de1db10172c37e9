"""The agents: what they can do, what guards them, and the offline model."""
