"""Debian's netboot installers behind a menu, for machines that boot by PXE or UEFI HTTP."""
