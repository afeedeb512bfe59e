"""The jobs of ``train_net.py``: one file each, the story of a run from top to bottom."""
