"""What replicas write: kept, searched and followed."""
