"""The workers' composition root: what they run, on which queues, and on what schedule."""
