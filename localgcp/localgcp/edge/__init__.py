"""The edge: load balancer, CDN, and the proxy in front of Cloud Run services."""
