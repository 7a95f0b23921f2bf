"""What training would cost on more workers than are there."""
