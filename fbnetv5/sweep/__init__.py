"""Sweeps: many jobs from one command, each in its own folder; one that fails does not end the others."""
