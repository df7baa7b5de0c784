//! Randomness that can be had again.

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

/// A generator for a test. Its seed is printed, and shown when the test fails; `FANFARE_SEED` sets it.
pub fn seeded(test: &str) -> SmallRng {
    let given = std::env::var("FANFARE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("{test}: FANFARE_SEED={seed}");
    SmallRng::seed_from_u64(seed)
}
