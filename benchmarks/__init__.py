"""Benchmarks: storefs beside a plain directory and other filesystems on S3. ``python -m benchmarks`` runs them."""
