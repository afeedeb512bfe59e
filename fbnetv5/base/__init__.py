"""The ground that everything stands on: errors, atomic files, keyed seeds, processes, weights, and the types that all share."""
