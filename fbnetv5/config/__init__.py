"""The schema of every configuration, with its checks; reading files; and entries that choose a class."""
