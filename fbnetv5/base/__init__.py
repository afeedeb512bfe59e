"""Ground of all rooms: errors, atomic files, keyed seeds, processes, weights, and the types that all share."""
