"""The frameworks that FNA++ adapts networks to, as heads of the core."""
