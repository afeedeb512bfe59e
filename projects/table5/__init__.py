"""Does the search pay? Random, single-task and multitask search compared on trained networks (FBNetV5, Table 5)."""
