//! What the load tester's JSON says. Every pointer into it is here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One run of the load tester.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Why its figures do not count; empty if they do.
    pub(crate) invalid_because: Vec<String>,
    /// Publications that were to be made, and that the server has taken.
    pub(crate) due: f64,
    pub(crate) acknowledged: f64,
    /// That were not written, since too many had no answer yet.
    pub(crate) over_bound: f64,
    pub(crate) expected: f64,
    pub(crate) received: f64,
    /// Lost, doubled or reordered.
    pub(crate) wrong: f64,
    /// Whether connections were closed that should not have been.
    pub(crate) closed: bool,
    pub(crate) server_cpu_us: f64,
    /// CPU time of the server for each second.
    pub(crate) server_cores: f64,
    pub(crate) loader_cpu_us: f64,
    pub(crate) bytes_per_delivery: f64,
    pub(crate) messages_per_read: f64,
    /// By the server's own count, where it has one.
    #[serde(default)]
    pub(crate) messages_per_write: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Until the last subscriber had a publication: half of them took no longer.
    pub(crate) last_p50_us: f64,
    pub(crate) sessions_per_second: f64,
}

impl Measured {
    /// From the file's text. What a scenario does not measure is 0.
    pub(crate) fn parse(text: &str) -> serde_json::Result<Self> {
        let result: Value = serde_json::from_str(text)?;
        let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
        let wrong = ["lost", "doubled", "reordered"].map(|kind| number(&format!("/deliveries/{kind}")));
        // Where nothing is published, as beside the bare loop, every message counts as a delivery.
        let listened = result.pointer("/deliveries").is_none_or(Value::is_null);
        let messages = number("/messages/count").max(1.0);
        let each = |measured: &str, sum: &str, scale: f64| {
            if listened { number(sum) * scale / messages } else { number(measured) }
        };
        Ok(Self {
            invalid_because: reasons(&result),
            due: number("/publications/due"),
            acknowledged: number("/publications/acknowledged"),
            over_bound: number("/publications/over_bound"),
            expected: number("/deliveries/expected"),
            received: if listened { number("/messages/count") } else { number("/deliveries/received") },
            wrong: wrong.iter().sum(),
            closed: result
                .pointer("/connections/closed")
                .and_then(Value::as_object)
                .is_some_and(|codes| !codes.is_empty()),
            server_cpu_us: each("/server/cpu_us_per_delivery", "/server/cpu_s", 1e6),
            server_cores: number("/server/cores"),
            loader_cpu_us: each("/loader/cpu_us_per_delivery", "/loader/cpu_s", 1e6),
            bytes_per_delivery: each("/bytes_per_delivery", "/messages/bytes", 1.0),
            messages_per_read: number("/messages_per_read"),
            messages_per_write: number("/messages_per_write"),
            p50_us: number("/latency_us/p50"),
            p99_us: number("/latency_us/p99"),
            p999_us: number("/latency_us/p999"),
            last_p50_us: number("/last_latency_us/p50"),
            sessions_per_second: number("/connections/sessions_per_second"),
        })
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.invalid_because.is_empty()
    }

    /// Whether it was the load tester that was held up. That a server leaves publications without an answer makes a run
    /// invalid too, and is the server's doing.
    pub(crate) fn is_tester_held_up(&self) -> bool {
        self.invalid_because.len() > usize::from(self.over_bound > 0.0)
    }

    /// Whether everything was taken and arrived, once and in order, and nobody was closed.
    pub(crate) fn is_whole(&self) -> bool {
        let arrived = self.received > 0.0 && self.received >= self.expected;
        arrived && self.wrong == 0.0 && self.acknowledged >= self.due && !self.closed
    }
}

fn reasons(result: &Value) -> Vec<String> {
    if result.pointer("/valid").and_then(Value::as_bool).unwrap_or(false) {
        return Vec::new();
    }
    let given = result.pointer("/invalid_because").and_then(Value::as_array);
    let given: Vec<String> = given.into_iter().flatten().map(text).collect();
    if given.is_empty() { vec!["no reason given".to_owned()] } else { given }
}

fn text(reason: &Value) -> String {
    reason.as_str().map_or_else(|| reason.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"{"valid":true,"invalid_because":[],"publications":{"due":500,"acknowledged":500},"connections":{"closed":{}},
        "deliveries":{"expected":1000,"received":1000,"lost":0,"doubled":0,"reordered":0},
        "latency_us":{"p50":120,"p90":200,"p99":900.5,"p999":1500,"max":2000},
        "last_latency_us":{"p50":700},
        "server":{"cpu_us_per_delivery":5.25,"cores":0.5},"loader":{"cpu_us_per_delivery":1.5},
        "bytes_per_delivery":190,"messages_per_read":1.0,"messages_per_write":1.5}"#;

    #[test]
    fn a_valid_run_is_read() {
        let measured = Measured::parse(VALID).unwrap();
        assert!(measured.is_valid() && measured.is_whole());
        assert_eq!((measured.server_cpu_us, measured.p99_us, measured.due), (5.25, 900.5, 500.0));
        assert_eq!((measured.server_cores, measured.last_p50_us), (0.5, 700.0));
        assert_eq!((measured.messages_per_read, measured.messages_per_write), (1.0, 1.5));
    }

    #[test]
    fn an_invalid_run_says_why() {
        let late = Measured::parse(r#"{"valid":false,"invalid_because":["the publisher was late"]}"#).unwrap();
        assert_eq!(late.invalid_because, ["the publisher was late"]);
        assert!(!Measured::parse("{}").unwrap().is_valid());
    }

    #[test]
    fn publications_without_an_answer_do_not_hold_up_the_tester() {
        let unanswered = r#"{"valid":false,"invalid_because":["9 were not sent"],"publications":{"over_bound":9}}"#;
        assert!(!Measured::parse(unanswered).unwrap().is_tester_held_up());
        let late = unanswered.replace("[", "[\"the publisher was late\",");
        assert!(Measured::parse(&late).unwrap().is_tester_held_up());
    }

    #[test]
    fn a_run_with_a_loss_is_not_whole() {
        assert!(!Measured::parse(&VALID.replace("\"lost\":0", "\"lost\":1")).unwrap().is_whole());
        assert!(!Measured::parse(&VALID.replace("\"received\":1000", "\"received\":999")).unwrap().is_whole());
        assert!(!Measured::parse(&VALID.replace("\"acknowledged\":500", "\"acknowledged\":499")).unwrap().is_whole());
        assert!(!Measured::parse(&VALID.replace("\"closed\":{}", "\"closed\":{\"3008\":1}")).unwrap().is_whole());
    }

    #[test]
    fn what_is_only_listened_to_counts_by_its_messages() {
        let listened = r#"{"valid":true,"deliveries":null,"messages":{"count":1000,"bytes":190000},
            "server":{"cpu_s":0.005,"cpu_us_per_delivery":null},"loader":{"cpu_s":0.002}}"#;
        let measured = Measured::parse(listened).unwrap();
        assert!(measured.is_whole());
        let figures = (measured.server_cpu_us, measured.loader_cpu_us, measured.bytes_per_delivery);
        assert_eq!(figures, (5.0, 2.0, 190.0));
    }
}
