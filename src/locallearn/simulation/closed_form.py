"""What papers derive by hand, beside which the simulation is held."""

from __future__ import annotations


def auglocal_seconds(layers: int, depth: int, forward: float, backward: float, iterations: int) -> float:
    """Time of local learning with one worker for each layer: `L t_f + (d+1)(t_f + t_b) N`.

    Args:
        layers: L; the network has L + 1 layers.
        depth: d, layers of every auxiliary network.
        forward: t_f, seconds of any layer's forward pass.
        backward: t_b, seconds of any layer's backward pass.
        iterations: N.

    Returns:
        Seconds.

    Source:
        AugLocal (C. Ma, J. Wu, C. Si and K. C. Tan, Scaling Supervised Local Learning with Augmented Auxiliary
        Networks, ICLR 2024), appendix A.1.
    """
    return layers * forward + (depth + 1) * (forward + backward) * iterations


def auglocal_ratio(layers: int, depth: int) -> float:
    """Time of local learning over back-propagation's `(L+1)(t_f + t_b) N`, for many iterations: `(d+1)/(L+1)`.

    Args:
        layers: L; the network has L + 1 layers.
        depth: d, layers of every auxiliary network.

    Returns:
        The ratio.

    Source:
        AugLocal, appendix A.1.
    """
    return (depth + 1) / (layers + 1)


def pipeline_bubble(stages: int, micro_batches: int) -> float:
    """Idle share of a pipeline that is flushed after every step, equal costs and no transfers: `(S-1)/(M+S-1)`.

    Args:
        stages: S.
        micro_batches: M.

    Returns:
        A share of the time.

    Source:
        GPipe (Y. Huang et al., GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism, NeurIPS
        2019), section 2.3.
    """
    return (stages - 1) / (micro_batches + stages - 1)
