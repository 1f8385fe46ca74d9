"""What the gateway costs: its calls beside nginx, its sessions, and its memory in the long run."""
