"""What a training step costs, told before it runs."""
