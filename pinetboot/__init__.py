"""pinetboot boots Raspberry Pis, and PXE machines beside them, over the network."""

__version__ = "0.1.0"
