"""Local learning beside its honest rivals: memory, time and arithmetic of one training step, row by row."""
