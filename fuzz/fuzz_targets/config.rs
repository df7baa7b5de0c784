//! Configuration files. Whatever is in one, there is a configuration or a list of problems, and both can be shown.

#![no_main]

use fanfare_server::Config;
use fanfare_server::config::{Source, Sources, Variables};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let sources = || Sources {
        file: Some(Source::from_text("fanfare.toml", text.to_owned())),
        variables: Variables::default(),
        flags: Vec::new(),
    };
    match Config::load_partial(sources()) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| drop(warning.to_string()));
            drop((loaded.settings.to_toml_lines(true), loaded.settings.to_json_lines()));
        }
        Err(problems) => {
            assert!(problems.iter().count() > 0, "refused for nothing");
            problems.iter().for_each(|problem| drop(problem.to_string()));
            assert!(Config::load(sources()).is_err(), "what is wrong in part is wrong as a whole");
        }
    }
});
