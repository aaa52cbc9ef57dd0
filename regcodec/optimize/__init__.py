"""Per-sample optimisation of latents at encode time, on a pack's network in torch; loaded only when asked for."""
