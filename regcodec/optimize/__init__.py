"""Per-sample optimisation of the latents at encode time, on the network of a pack in torch. Loaded only when asked for."""
