//! The demo page in a real browser: the machine's own Chromium, or Debian's; none is downloaded.

use std::path::PathBuf;

use crate::step::Outcome;
use crate::steps::js;
use crate::tally::Tally;
use crate::{project, tool};

/// Names under which Chromium is known.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// The browser suite.
pub(crate) fn suite() -> Outcome {
    if let Some(missing) = js::missing() {
        return Outcome::Skipped(missing);
    }
    match chromium() {
        Err(missing) => Outcome::Skipped(missing),
        Ok(chromium) => {
            let variables = [("SUITE_CHROMIUM", &*chromium.to_string_lossy())];
            Outcome::of_tests(js::test(&folder(), "browser", &variables), Tally::of_node)
        }
    }
}

/// The folder of the suite.
pub(crate) fn folder() -> PathBuf {
    project::at("crates/testkit/browser")
}

/// Where Chromium is; it is installed where it is missing and can be.
pub(crate) fn chromium() -> Result<PathBuf, String> {
    if let Some(found) = tool::find_any(BROWSERS) {
        return Ok(found);
    }
    tool::install("chromium").map_err(|why| format!("no Chromium; {why}"))?;
    tool::find_any(BROWSERS).ok_or_else(|| "no Chromium, although its package is installed".to_owned())
}
