//! Deadlines of tests: long enough for a machine that does much else, short enough to tell a hang.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has to happen.
///
/// # Panics
/// When it does not.
pub async fn within<T>(what: &str, happening: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, happening).await {
        Ok(happened) => happened,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Asks again and again until the answer is there; for what happens behind the scenes and announces itself nowhere.
///
/// # Panics
/// When it does not come.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
