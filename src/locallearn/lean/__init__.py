"""Operators whose backward passes hold less: they overwrite gradients and compute activations again."""
