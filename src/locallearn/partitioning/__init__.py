"""Any network as a chain of blocks that equals it bit for bit."""

from locallearn.partitioning.partition import BlockInfo, Partition, partition
from locallearn.partitioning.unit import Unit

__all__ = ["BlockInfo", "Partition", "Unit", "partition"]
