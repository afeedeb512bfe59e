"""``python -m fbnetv5``: the command ``fbnetv5``."""

from fbnetv5.cli.commands import main

if __name__ == "__main__":
    main()
