"""How good analyses are: requests with known answers, through the real workflows.

requests    what is asked, and what is right
answers     asking it, and what came back
evaluation  the figures
catalogue   the catalogue of known servers, checked entry by entry
"""
