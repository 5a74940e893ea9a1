"""Waiting for a GPU: what it was told to do goes on after the call, and a clock must not stop."""

from __future__ import annotations

from argparse import ArgumentParser


def add_device(parser: ArgumentParser) -> None:
    """The option that says where lazynet computes."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; default: %(default)s")


def wait(device: str) -> None:
    """Return when everything on a device is done, PyTorch's work included."""
    if device != "cpu":
        import cupy

        cupy.cuda.Device(int(device.partition(":")[2] or 0)).synchronize()
