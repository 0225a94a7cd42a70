"""factor_ray."""
