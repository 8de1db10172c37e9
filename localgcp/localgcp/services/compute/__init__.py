"""The Compute Engine v1 resources of a load balancer."""
