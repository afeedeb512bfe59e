"""FNA++: a pretrained network adapted to a task, its architecture and its weights."""
