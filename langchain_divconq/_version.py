"""The version, written once: packaging reads it from here, and so does whatever stamps it on a run."""

__version__ = "0.1.0"
