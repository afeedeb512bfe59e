"""Labels from pretrained models, for images that have none: teachers, and the labeller that writes what they say."""
