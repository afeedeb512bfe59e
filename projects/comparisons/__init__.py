"""Trainings side by side, with several seeds each. See README.md."""
