"""Training in several processes with torch's DistributedDataParallel."""
