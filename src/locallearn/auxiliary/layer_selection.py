"""Which later units AugLocal's auxiliary networks are modelled on, and how deep they are."""

from __future__ import annotations


def uniform_selection(unit: int, num_units: int, depth: int) -> tuple[int, ...]:
    r"""Indices of `depth` units after a unit, evenly spaced, the last one being the network's last unit.

    .. math::
        S_l = \{\mathrm{round}(l + \tfrac{n-1-l}{D}\,i) : i = 1, \dots, D\}

    for unit l of n, rounded half to even; all later units where there are at most D.

    Source: Ma, Wu, Si, Tan. Scaling Supervised Local Learning with Augmented Auxiliary Networks. ICLR 2024. Authors'
        code: ChenxiangMA/AugLocal, networks/auxiliary_nets.py.
    Departures: None; the argument is computed in floating point in the code's order.

    Args:
        unit: l, counted from 0.
        num_units: n.
        depth: D, how many units at most.

    Returns:
        Increasing indices; none if the unit is the last.

    Example:
        >>> uniform_selection(10, 55, 3)
        (25, 39, 54)
    """
    later = num_units - 1 - unit
    if depth >= later:
        return tuple(range(unit + 1, num_units))
    return tuple(round(unit + later / depth * step) for step in range(1, depth + 1))


def pyramidal_depth(depth: int, tau: float, index: int, num_local: int) -> int:
    r"""How many hidden layers the auxiliary network of a local block has.

    .. math::
        D_i = \max(1, \mathrm{round}(D(1-u) + u)), \qquad u = i\tau/(M-2)

    for the local blocks i = 0 to M-2, rounded half to even: from D at the first block towards 1, which the last reaches
    if tau is 1.

    Source: Ma, Wu, Si, Tan. Scaling Supervised Local Learning with Augmented Auxiliary Networks. ICLR 2024. Authors'
        code: ChenxiangMA/AugLocal, networks/resnet.py.
    Departures: With a single local block, where the code divides by zero, the depth is D.

    Args:
        depth: D, the largest depth.
        tau: How fast the depth falls, from 0 (not at all) to 1.
        index: i, counted from 0.
        num_local: M-1, how many local blocks there are.

    Returns:
        The depth, at least 1.
    """
    share = index * tau / (num_local - 1) if num_local > 1 else 0.0
    return max(1, round(depth * (1 - share) + share * 1))
