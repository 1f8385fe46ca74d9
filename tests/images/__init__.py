"""Images that the platform builds."""
