"""Public helpers for tests: operator checks, gradient checks, ranks in one process."""
