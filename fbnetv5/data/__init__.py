"""Images with partial labels for several tasks: sources, joint augmentation, batches, and the order they come in."""
