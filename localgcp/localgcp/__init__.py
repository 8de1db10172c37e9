"""A local Google Cloud: Google's own protocols in front, real processes behind."""
