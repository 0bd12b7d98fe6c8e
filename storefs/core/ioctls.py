"""The numbers of storefs' ioctl requests."""

IOCTL_TYPE = 0xF5
"""Their type (bits 8 to 15), as Linux's _IO(type, number) puts it."""

SYNC = IOCTL_TYPE << 8 | 1
"""_IO(0xF5, 1): what a write to the control file ``sync`` does."""

WARM = IOCTL_TYPE << 8 | 2
"""_IO(0xF5, 2): bring all that this file or directory holds to the disk of this machine."""
