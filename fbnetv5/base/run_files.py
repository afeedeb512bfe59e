"""Names of files in the folders of runs that several rooms read."""

MODEL = "config.json"  # of a trained model: what it is
FINAL_METRICS = "metrics.json"  # of a training or an evaluation
TOPOLOGY = "topology_"  # begins the name of a derived topology's file, before its task


def topology_file(task: str) -> str:
    """Return the name of the file that a search writes a task's topology to."""
    return f"{TOPOLOGY}{task}.yaml"
