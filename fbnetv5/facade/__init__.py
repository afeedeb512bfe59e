"""The Python interface, what ``import fbnetv5`` offers: the runs of the command line, and what they wrote."""
