//! The README's picture of the demo page, taken of the real thing.

use std::process::ExitCode;

use crate::command::Run;
use crate::step::Outcome;
use crate::steps::{browser, js, rust};
use crate::{project, say};

/// Builds the binary, opens the page in a browser and takes the picture.
pub(crate) fn take() -> ExitCode {
    match picture() {
        Ok(said) => {
            say(&said);
            ExitCode::SUCCESS
        }
        Err(why) => {
            say(&format!("{why}\n"));
            ExitCode::FAILURE
        }
    }
}

fn picture() -> Result<String, String> {
    if let Outcome::Failed(why) = rust::build() {
        return Err(why);
    }
    js::missing().map_or(Ok(()), Err)?;
    js::install(&browser::folder(), "picture")?;
    let run = Run::new("picture", "node").args(&["picture.js"]).within(&browser::folder());
    run.env("SUITE_BINARY", project::binary()).env("SUITE_CHROMIUM", browser::chromium()?).output()
}
