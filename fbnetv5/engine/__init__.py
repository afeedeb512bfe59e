"""The machinery of a run: processes, optimiser, loop, checkpoints, log."""
