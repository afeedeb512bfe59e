#!/usr/bin/env python
"""Launch a job: ``python train_net.py --config configs/quickstart.yaml [key=value ...] [--multirun]``."""

import warnings

warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")  # libraries script on import

from fbnetv5.cli.launch import main  # noqa: E402

if __name__ == "__main__":
    main()
