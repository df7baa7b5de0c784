//! `docs/conformance.md`, written from a run of the Autobahn cases: results only, so that two runs write the same.

use std::fmt::Write as _;

/// The numbers that cases begin with, and what they are about.
const CATEGORIES: &[(&str, &str)] = &[
    ("1", "Framing"),
    ("2", "Pings and pongs"),
    ("3", "Reserved bits"),
    ("4", "Opcodes"),
    ("5", "Fragmentation"),
    ("6", "UTF-8"),
    ("7", "Closing"),
    ("9", "Limits"),
    ("10", "Fragmentation by the sender"),
];

/// Cases that end otherwise than OK, and why that is so.
const REMARKS: &[(&str, &str)] = &[
    ("6.4.3", "text is judged when its frame is whole: the client is told at the end of it instead of in the middle"),
    ("6.4.4", "the same with another cut"),
    ("7.1.6", "the case asks whether a message comes back that has a close right behind it; either is in order"),
    ("7.13.1", "the case asks what a close with code 5000 gets; any answer is in order"),
    ("7.13.2", "the same with 65535"),
];

const HEAD: &str = "\
# Conformance with the WebSocket protocol

Written by `cargo xtask conformance`; `cargo xtask test autobahn` fails when a run ends otherwise.

The cases are those of the Autobahn test suite, as the fuzzing client `kosoku` 0.1.0 drives them. The server is the
testkit's `echo`: a node's own listener, handshake, check of frame headers, WebSocket library, outbox and closes, with an
application behind them that sends each message back. It has more room than a node:

| limit | echo | node |
|---|---:|---:|
| bytes of a message | 32 MiB | 64 KiB |
| frames of a message | 131,072 | 1,024 |
| bytes waiting for one client | 64 MiB | 1 MiB |
| pings and pongs in a second | any number | 50 |
| time to send `connect` | any | 10 s |
| interval of the application's pings | none | 25 s |

Cases 12 and 13 are not run: they are about compression, which is not offered.

## Results

";

const TAIL: &str = "
Every case's result with the close code that it got is in `crates/testkit/autobahn/expected.txt`. Autobahn does not judge
close codes; those of a node with its own limits are judged by `crates/testkit/tests/bad_frames.rs`.
";

/// What became of a case.
struct Case<'a> {
    number: &'a str,
    messages: &'a str,
    close: &'a str,
    code: &'a str,
}

/// The page for what the runner printed.
///
/// Fails on a line that is none, on a case of no category, and without cases.
pub(crate) fn page(results: &str) -> Result<String, String> {
    let lines = results.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases = lines.map(parse).collect::<Result<Vec<_>, _>>()?;
    if cases.is_empty() {
        return Err("no case was run".to_owned());
    }
    Ok([HEAD, &table(&cases), &exceptions(&cases), TAIL].concat())
}

fn parse(line: &str) -> Result<Case<'_>, String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [number, messages, close, code] = words[..] else { return Err(format!("not a result: {line}")) };
    let case = Case { number, messages, close, code };
    let is_known = CATEGORIES.iter().any(|(category, _)| case.category() == *category);
    if is_known { Ok(case) } else { Err(format!("of no category: {line}")) }
}

impl Case<'_> {
    fn category(&self) -> &str {
        self.number.split('.').next().unwrap_or_default()
    }

    fn is(&self, verdict: &str) -> bool {
        self.messages == verdict
    }

    /// Neither in order nor one of the two verdicts that say that it may be so.
    fn has_failed(&self) -> bool {
        let fine = |verdict| matches!(verdict, "OK" | "NON-STRICT" | "INFORMATIONAL");
        !fine(self.messages) || !fine(self.close)
    }
}

fn table(cases: &[Case<'_>]) -> String {
    let mut table =
        "| | cases | OK | non-strict | informational | failed |\n|---|---:|---:|---:|---:|---:|\n".to_owned();
    for (number, name) in CATEGORIES {
        let of_category: Vec<&Case<'_>> = cases.iter().filter(|case| case.category() == *number).collect();
        table += &row(&format!("{number} {name}"), &of_category);
    }
    table + &row("all", &cases.iter().collect::<Vec<_>>())
}

fn row(name: &str, cases: &[&Case<'_>]) -> String {
    let count = |is: &dyn Fn(&Case<'_>) -> bool| cases.iter().filter(|case| is(case)).count();
    let failed = count(&|case| case.has_failed());
    let verdicts = ["OK", "NON-STRICT", "INFORMATIONAL"];
    let [ok, non_strict, informational] = verdicts.map(|verdict| count(&|case| !case.has_failed() && case.is(verdict)));
    format!("| {name} | {} | {ok} | {non_strict} | {informational} | {failed} |\n", cases.len())
}

fn exceptions(cases: &[Case<'_>]) -> String {
    let mut text = "\nOtherwise than OK:\n\n".to_owned();
    for case in cases.iter().filter(|case| case.has_failed() || !case.is("OK")) {
        let remark = REMARKS.iter().find(|(number, _)| *number == case.number).map(|(_, remark)| format!(": {remark}"));
        let Case { number, messages, close, code } = case;
        let _ = writeln!(text, "- {number} {messages}, close {close} with {code}{}", remark.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_category_and_names_what_is_not_ok() {
        let page = page("1.1.1 OK OK 1000\n1.1.2 OK WRONG-CODE 1000\n6.4.3 NON-STRICT OK 1007\n").expect("three cases");
        assert!(page.contains("| 1 Framing | 2 | 1 | 0 | 0 | 1 |\n"), "{page}");
        assert!(page.contains("| all | 3 | 1 | 1 | 0 | 1 |\n"), "{page}");
        assert!(
            page.contains("- 1.1.2 OK, close WRONG-CODE with 1000\n- 6.4.3 NON-STRICT, close OK with 1007: text"),
            "{page}"
        );
    }

    #[test]
    fn refuses_what_is_no_result() {
        assert_eq!(page(""), Err("no case was run".to_owned()));
        assert_eq!(
            page("Traceback (most recent call last):"),
            Err("not a result: Traceback (most recent call last):".to_owned())
        );
        assert_eq!(page("14.1 OK OK 1000"), Err("of no category: 14.1 OK OK 1000".to_owned()));
    }
}
