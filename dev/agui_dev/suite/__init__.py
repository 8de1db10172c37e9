"""Runs the checks and the parts of the test suite side by side, and ends with one line that counts all of them."""
