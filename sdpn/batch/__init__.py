"""Shards of a command as batch jobs, on this machine or on a cluster."""
