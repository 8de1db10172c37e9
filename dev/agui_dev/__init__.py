"""Tools of this repository: set-up, the local control plane, the test suite's runner. Nothing here is shipped."""
