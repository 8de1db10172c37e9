"""A read-only web page of all rollouts, fed by what the loops learn anyway.

It asks neither the API server nor the cloud for anything, and changes nothing: what people want is said with kubectl,
so that RBAC decides.
"""
