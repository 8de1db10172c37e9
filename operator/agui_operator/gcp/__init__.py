"""Google Cloud as the operator uses it: one way to call it, and one module for each kind of resource."""
