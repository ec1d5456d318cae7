"""FLOPs, logs of runs, and curves."""
