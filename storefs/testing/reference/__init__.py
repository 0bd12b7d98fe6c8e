"""The reference: a filesystem as plain dicts, the definition of correctness for volumes and mounts."""
