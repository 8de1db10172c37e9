"""google.longrunning.Operations."""
