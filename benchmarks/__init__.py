"""Measurements beside the product: nothing in `jobs` imports them."""
