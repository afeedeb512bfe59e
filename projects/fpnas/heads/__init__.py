"""Heads of FPNAS' final models."""
