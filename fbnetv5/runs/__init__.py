"""Graphs of jobs: sweeps and studies, in processes or on Slurm."""
