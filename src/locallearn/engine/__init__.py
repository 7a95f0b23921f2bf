"""How a step is carried out: gradients across borders, memory, speed."""
