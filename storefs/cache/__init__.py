"""What is kept on this machine: staging, shard files, chunks, and what leaves first."""
