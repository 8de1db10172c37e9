"""The only files that import kopf. A handler has no opinions: it wakes, feeds or ends the loop of one object."""
