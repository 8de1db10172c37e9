"""Starts the real parts of the system: for the tests, the demo, the benchmarks and the screenshots."""
