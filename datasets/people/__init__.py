"""People of pose estimation data sets: reading their annotations, and cutting each out of its image."""
