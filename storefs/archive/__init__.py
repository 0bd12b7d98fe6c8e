"""The archive: small files packed by day and uid into DES shards, found without a database."""
