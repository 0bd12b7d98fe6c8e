"""What tests need: an S3 server, faults, generated trees, a daemon under a hard timeout."""
