"""Random streams: Generator, the functions of the default one, and fills of raw arrays.

Operators draw through `distrib.random.fill` and `distrib.random.sampling`; here are the names of
``torch.random``.
"""

from .generator import (
    Generator,
    choose,
    default_generator,
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
    thread_safe_generator,
)

__all__ = [
    "Generator",
    "choose",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
    "thread_safe_generator",
]
