"""A look at a vault from outside."""

from storefs.vault import KVault


def stored(path):
    """Return what another process would see."""
    with KVault(path, read_only=True) as other:
        return dict(other.items())
