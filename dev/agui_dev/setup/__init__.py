"""The parts of the set-up. Standard library only: they run before there is a virtual environment."""
