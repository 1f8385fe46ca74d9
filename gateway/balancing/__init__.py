"""Which replica a call goes to, which ones are left out for a while, and how many calls there may be."""
