"""Final models: a network and heads, built from a configuration or a folder; predictions; teachers."""
