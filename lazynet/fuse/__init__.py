"""Fused functions and scans: several operations as one node."""

from lazynet.fuse.function import fuse

__all__ = ["fuse"]
