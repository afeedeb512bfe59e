#!/usr/bin/env python
"""Launch a job: ``python train_net.py --config configs/quickstart.yaml [key=value ...] [--multirun]``."""

from fbnetv5.cli.launch import main

if __name__ == "__main__":
    main()
