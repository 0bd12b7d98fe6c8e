"""The DES shard format: packed chunks that three range requests can read."""
