"""What a training step costs, told before it runs."""

from locallearn.planning.step_cost import StepCost, step_cost, time_ratios

__all__ = ["StepCost", "step_cost", "time_ratios"]
