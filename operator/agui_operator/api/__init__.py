"""The custom resources as types. Imports nothing else of this package: everything stands on it."""
