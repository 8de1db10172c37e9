"""What a release does next, decided without looking at the world: no await, no clock, no network, no environment."""
