"""What an environment stands on, as a graph of resources: what it is, what has to be done next, how it is reported."""
