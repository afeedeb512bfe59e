"""Detectron2 for those who have it: the only code that imports it, and which nothing in the core imports."""
