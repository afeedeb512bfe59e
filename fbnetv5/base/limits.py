"""Bounds on what comes from outside: far above what anyone needs, and below what would take a machine down."""

from __future__ import annotations

MAX_DOCUMENT = 2**18  # bytes of a small file that people write: a topology has some hundred
MAX_DESCRIPTION = 2**24  # bytes of a file that describes a model
MAX_MEMBER = 2**30  # bytes of a file in a tar, which is read as a whole
MAX_JSON = 2**32  # bytes of any JSON file; annotations of a large data set have 2**30
MAX_NODES = 10**6  # values of a YAML document, each alias counted as what it stands for
MAX_STAGES = 100  # of a topology; the paper has seven
MAX_SIDE = 2**14  # pixels of a side that images are brought to
MAX_IMAGES = 2**20  # at a time, or of an iteration
MAX_SHAPES = 10**9  # images of a split of the shapes data set
MAX_COUNT = 10**6  # of what a class is told to have: channels, proposals, ...
MAX_INTEGER = 2**63 - 1  # what a tensor holds
