//! What the fence costs: the publish script as it is, against one that does not ask Redis who it is. Both take turns in
//! one server; the ratio of each turn counts, and the median of those.

use std::time::Duration;

use crate::redis_server::RedisServer;
use crate::{Outcome, PAYLOAD_BYTES, say};
use fanfare_loadtest::Process;

const SCRIPT: &str = include_str!("../../crates/broker-redis/src/script/publish.lua");
/// The fence's question, and an answer that costs nothing.
const QUESTION: &str = "call('INFO', 'replication')";
const ANSWER: &str = "'role:master master_replid:0123456789'";
/// Publications of one turn.
const PUBLICATIONS: usize = 10_240;
const CHANNELS: usize = 1_000;

pub(crate) fn run(turns: usize) -> Outcome {
    let without = SCRIPT.replacen(QUESTION, ANSWER, 1);
    if without == SCRIPT {
        return Err("the script asks in other words".into());
    }
    let server = RedisServer::start()?;
    let mut connection = server.connect()?;
    let hash = |script: &str| redis::Script::new(script).get_hash().to_owned();
    for script in [SCRIPT, &without] {
        redis::cmd("SCRIPT").arg("LOAD").arg(script).exec(&mut connection)?;
    }
    let hashes = [hash(SCRIPT), hash(&without)];
    for batch in [1, 32] {
        let mut numbers = [0; 2];
        let (mut ratios, mut costs) = (Vec::new(), [Vec::new(), Vec::new()]);
        for _ in 0..turns + 1 {
            let mut cost = [0.0; 2];
            for (at, hash) in hashes.iter().enumerate() {
                let cpu = turn(&server.process(), &mut connection, hash, batch, (at, &mut numbers[at]))?;
                cost[at] = cpu.as_secs_f64() * 1e6 / PUBLICATIONS as f64;
                costs[at].push(cost[at]);
            }
            ratios.push(cost[0] / cost[1]);
        }
        // The first turn fills the streams.
        ratios.remove(0);
        ratios.sort_by(f64::total_cmp);
        costs.iter_mut().for_each(|costs| costs.sort_by(f64::total_cmp));
        say(&format!(
            "redis-fence, {batch} to a call: {:.1} µs of Redis's CPU a publication, {:.1} without the fence, \
             {:.2} times (medians of {turns})",
            costs[0][turns / 2],
            costs[1][turns / 2],
            ratios[turns / 2],
        ))?;
    }
    Ok(())
}

fn turn(
    process: &Process,
    connection: &mut redis::Connection,
    hash: &str,
    batch: usize,
    (variant, number): (usize, &mut usize),
) -> Result<Duration, Box<dyn std::error::Error>> {
    let before = process.cpu()?;
    for _ in 0..PUBLICATIONS / 256 {
        let mut pipe = redis::pipe();
        for _ in 0..256 / batch {
            pipe.add_command(call(hash, batch, variant, number));
        }
        let answers: Vec<Vec<String>> = pipe.query(connection)?;
        if answers.iter().flatten().any(|answer| !answer.starts_with('a')) {
            return Err("the script refused a publication".into());
        }
    }
    Ok(process.cpu()? - before)
}

fn call(hash: &str, batch: usize, variant: usize, number: &mut usize) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(hash).arg(3 * batch);
    let first = *number;
    *number += batch;
    for number in first..first + batch {
        let key = |kind: &str| format!("{variant}:{batch}:{kind}:{}", number % CHANNELS);
        command.arg(key("meta")).arg(key("stream")).arg(key("meta"));
    }
    command.arg("a-node-of-12").arg("PUBLISH");
    let body = "x".repeat(PAYLOAD_BYTES);
    for number in first..first + batch {
        command.arg("live").arg(&body).arg(100).arg(300_000).arg(3_600_000).arg("abcdefghijkm").arg(number + 1);
        command.arg("").arg("").arg("").arg(1_000).arg("");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The measurement calls the script by itself, and broke when that took another argument.
    #[test]
    fn the_script_takes_what_the_measurement_gives() {
        // Where no server is installed there is nothing to measure; with CI set there is one.
        let server = match RedisServer::start() {
            Ok(server) => server,
            Err(_) if std::env::var_os("CI").is_none() => return,
            Err(error) => panic!("{error}"),
        };
        let mut connection = server.connect().expect("the server runs");
        let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(&mut connection).expect("it is a script");
        let answers: Vec<String> = call(&hash, 3, 0, &mut 0).query(&mut connection).expect("the script answers");
        assert!(answers.len() == 3 && answers.iter().all(|answer| answer.starts_with("a1:")), "{answers:?}");
    }
}
