"""The shop's tests: workflows in simulations, activities as a worker runs them, and all of it on a real database."""
