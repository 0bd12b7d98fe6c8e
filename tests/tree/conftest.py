"""What the tree's tests share: trees in this test's folder."""

import pytest

from storefs.core.chunking import ChunkSizes
from storefs.core.storeinfo import StoreInfo
from storefs.tree.tree import Tree

STORE = bytes(range(16))
INFO = StoreInfo(STORE, 5, 0o040755, 1000, 1000, ChunkSizes())


@pytest.fixture
def plant(tmp_path):
    """Open replicas by name, each with the root directory of the same store; closed at the end."""
    trees = []

    def open_tree(name):
        tree = Tree(tmp_path / f"{name}.sqlite")
        if tree.inodes.get(1) is None:
            tree.plant(INFO)
        trees.append(tree)
        return tree

    yield open_tree
    for tree in trees:
        tree.close()


@pytest.fixture
def tree(plant):
    return plant("one")
