"""Vision tasks: one file each, with its target, its search head and its loss."""
