"""Latency as the cost of a search: parts of the network timed on this device, cached, and summed over blocks."""
