"""Heads of final models."""
