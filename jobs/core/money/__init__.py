"""What a difference is worth, at Lago's own prices."""
