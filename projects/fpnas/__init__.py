"""FPNAS: a search over whole networks of diverse blocks, block by block."""
