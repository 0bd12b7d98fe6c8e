"""storefs: an object store mounted as a directory, made for machine-learning data."""

__version__ = "0.1.0"
