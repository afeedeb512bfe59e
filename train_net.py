#!/usr/bin/env python
"""Launch a job: ``python train_net.py --config FILE [key=value ...] [--processes N] [--multirun]``."""

from fbnetv5.cli.launch import main

if __name__ == "__main__":
    main()
