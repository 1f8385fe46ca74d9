"""What calls and workflows cost on this machine: `make bench`."""
