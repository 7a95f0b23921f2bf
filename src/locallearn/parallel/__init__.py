"""Training in several processes: parts of a batch, or groups of blocks, each in its own; or at paces of their own."""
