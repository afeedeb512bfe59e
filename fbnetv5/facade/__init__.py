"""The Python interface: what ``import fbnetv5`` offers. It runs what the command line runs, and reads what that wrote."""
