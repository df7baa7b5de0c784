//! Benchmarks and budgets.
