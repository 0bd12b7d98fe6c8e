"""The replicated tree in SQLite: inodes, names, extents, the chunk index, and the changes still to be committed."""
