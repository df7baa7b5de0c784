//! Limits of tokens, with their arithmetic.

/// Longest token that is looked at. As much as the largest message a client may send by default; a token with
/// a name, an expiry and a hundred channels of 100 bytes takes some 14 KiB.
pub const TOKEN_BYTES_MAX: usize = 65_536;

/// Shortest secret: as long as the digest of HS256, as RFC 7518 §3.2 demands.
pub const SECRET_BYTES_MIN: usize = 32;

/// How far in the future `nbf` and `iat` may lie, for clocks that do not agree. Nothing of the kind holds for `exp`.
pub const LEEWAY_SECONDS: u64 = 30;

/// Keys in the configuration. Each that has the token's algorithm and no other key id is tried, and a signature costs
/// 2 µs (HS256), 23 µs (RS256), 76 µs (ES256) to 276 µs (ES384): a forged token costs 4.5 ms at most.
pub const KEYS_MAX: usize = 16;

/// Keys that one issuer may publish. The large providers have two to ten.
pub const PUBLISHED_KEYS_MAX: usize = 64;

/// Roles that a token may name.
pub const ROLES_MAX: usize = 64;

/// Patterns in a token. Each is compared with the channel's name in one pass of at most 255 bytes: a publish by a client
/// whose token has all of them costs some 10 µs more.
pub const TOKEN_PATTERNS_MAX: usize = 64;

/// Latest date in a token: the last second of the year 9999. What lies beyond is no date in seconds; a date in
/// milliseconds, which would make a token live for thousands of years, is found by it too.
pub const DATE_SECONDS_MAX: u64 = 253_402_300_799;
