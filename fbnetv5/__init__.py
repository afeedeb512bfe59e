"""Neural architecture search for several vision tasks in one run (FBNetV5)."""

__version__ = "0.1.0"
