"""From a folder of data to configs: what is in it, which settings suit it, and what is wrong with it."""
