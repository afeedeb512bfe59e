"""Runs a module as ``python -m MODULE ARGUMENTS`` does, in a process that ends when its standard input does.

    python -m fbnetv5.runs.child MODULE ARGUMENTS

Whoever starts it holds the other end of its input, and so it does not outlive them, however they end.
"""

from __future__ import annotations

import os
import runpy
import sys

from fbnetv5.runs.process import end_with

if __name__ == "__main__":
    end_with(lambda: os.read(0, 1))  # not sys.stdin, whose lock a thread must not hold at the end of the process
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
