"""The effects: one outside world per module, none of which knows another."""
