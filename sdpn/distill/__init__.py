"""Self-distillation with prototypes: the network, its assignment step and its losses."""
