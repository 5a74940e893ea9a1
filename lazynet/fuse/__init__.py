"""Fused functions and scans: several operations as one node."""

from lazynet.fuse.function import fuse
from lazynet.fuse.sequence import scan

__all__ = ["fuse", "scan"]
