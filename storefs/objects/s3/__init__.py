"""The S3 adapter: the only door of boto3, botocore and urllib3."""
