"""Object stores behind one port: S3, a local directory, memory; retry and metering around them."""
