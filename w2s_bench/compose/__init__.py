"""From overrides in Hydra's language to typed cells."""
