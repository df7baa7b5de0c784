//! Revocations of several nodes on one server: what is compared, what is lost, what is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_broker::revocations::{FULL, REVOCATIONS_MAX, unix_now};
use fanfare_broker::{Barred, Bearer, Revocation, Revocations as _, Subject, Whom};

use crate::bench::{Bench, PATIENCE, address, until};
use crate::proxy::Proxy;
use crate::server::Server;

async fn two_nodes(server: Arc<Server>) -> [Bench; 2] {
    let one = Bench::on(server.clone()).await;
    let other = Bench::with(server, |options| options.prefix.clone_from(&one.prefix)).await;
    until("both are listed", || one.server.run::<usize>(&["ZCARD", &format!("{}:nodes", one.prefix)]) == 2).await;
    [one, other]
}

fn block(user: &str) -> Revocation {
    Revocation { subject: Subject::User(user.to_owned()), issued_before: 0, expire_at: None }
}

impl Bench {
    fn holds(&self) -> Vec<String> {
        let listed = self.broker.revoked().all(unix_now());
        listed.iter().map(|kept| format!("{:?}", kept.subject)).collect()
    }

    fn bars(&self, user: &str) -> bool {
        let bearer = Bearer { user, token: None, issued_at: 0, channel: None };
        self.broker.revoked().judge(&bearer, unix_now()) == Err(Barred::Blocked)
    }

    fn revocations(&self) -> String {
        format!("{}:revocations", self.prefix)
    }
}

#[tokio::test]
async fn what_one_node_revokes_all_have_judged_when_it_answers() {
    let Some(server) = Server::shared() else { return };
    let [one, other] = two_nodes(server).await;
    for round in 0..20 {
        let user = round.to_string();
        one.broker.revoke(block(&user)).await.unwrap();
        assert!(other.bars(&user) && other.node.judged().contains(&Whom::User(user.clone())), "{user}");
        assert!(other.broker.unrevoke(&block(&user).subject).await.unwrap());
        assert!(!one.bars(&user) && !other.bars(&user), "{user}");
    }
    assert_eq!(one.metric("fanfare_redis_revocation_reads_failed_total", None), 0.0);
}

#[tokio::test]
async fn changes_of_two_nodes_at_once_leave_both_with_the_same() {
    let Some(server) = Server::shared() else { return };
    let [one, other] = two_nodes(server).await;
    let change = |bench: Arc<Bench>, from: usize| async move {
        for number in from..from + 40 {
            bench.broker.revoke(block(&number.to_string())).await.unwrap();
            if number % 3 == 0 {
                bench.broker.unrevoke(&block(&number.to_string()).subject).await.unwrap();
            }
        }
    };
    let [one, other] = [Arc::new(one), Arc::new(other)];
    tokio::join!(change(one.clone(), 0), change(other.clone(), 100));
    let in_redis = || one.server.run::<usize>(&["HLEN", &one.revocations()]) - 2;
    until("both hold what Redis has", || one.holds() == other.holds() && one.holds().len() == in_redis()).await;
    assert_eq!(in_redis(), 53);
}

#[tokio::test]
async fn what_was_changed_behind_the_nodes_backs_is_read_within_a_moment() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::on(server).await;
    let many: Vec<String> = (0..3_500).flat_map(|user| [format!("u:{user}"), "0 ".to_owned()]).collect();
    let command = ["HSET".to_owned(), bench.revocations()].into_iter().chain(many).collect::<Vec<_>>();
    let _: usize = bench.server.run(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let _: usize = bench.server.run(&["HSET", &bench.revocations(), "life", "another", "version", "7"]);
    until("all pages are read", || bench.holds().len() == 3_500).await;
    until("sessions are judged", || bench.node.judged().contains(&Whom::Everybody)).await;
    // What is lower than what was known is a loss: it is given back.
    let _: usize = bench.server.run(&["HDEL", &bench.revocations(), "u:7"]);
    let _: usize = bench.server.run(&["HSET", &bench.revocations(), "version", "6"]);
    until("it is given back", || bench.server.run::<bool>(&["HEXISTS", &bench.revocations(), "u:7"])).await;
    assert!(bench.bars("7"));
    // What is higher is a change.
    let _: usize = bench.server.run(&["HDEL", &bench.revocations(), "u:8"]);
    let _: usize = bench.server.run(&["HINCRBY", &bench.revocations(), "version", "1"]);
    until("it is let go", || !bench.bars("8")).await;
}

#[tokio::test]
async fn the_set_in_redis_is_bounded_and_what_expires_makes_room() {
    // A server that fills the set answers nobody else meanwhile.
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    let fill = format!(
        "for i = 1, {} do redis.call('HSET', KEYS[1], 'u:' .. i, '0 ') end redis.call('HSET', KEYS[1], 'life', 'l', 'version', '1')",
        REVOCATIONS_MAX - 1
    );
    let _: Option<String> = bench.server.run(&["EVAL", &fill, "1", &bench.revocations()]);
    until("all are read", || bench.holds().len() == REVOCATIONS_MAX - 1).await;
    let last = Revocation { expire_at: Some(unix_now() + 5), ..block("last") };
    bench.broker.revoke(last.clone()).await.unwrap();
    assert_eq!(bench.broker.revoke(block("one more")).await, Err(FULL));
    assert!(!bench.bars("one more"));
    bench.broker.revoke(last).await.expect("what is there can be changed");
    until("one has expired", || !bench.bars("last")).await;
    let mut kept = bench.broker.revoke(block("one more")).await;
    while kept == Err(FULL) {
        kept = bench.broker.revoke(block("one more")).await;
    }
    assert!(kept.is_ok() && bench.bars("one more"), "{kept:?}");
    let _: usize = bench.server.run(&["DEL", &bench.revocations()]);
}

/// The replica that took over had the same life, and gave versions again that this node had seen of the old master: what
/// others revoked then counted as known here, and was not judged by.
#[tokio::test]
async fn defect_after_a_failover_versions_that_are_given_again_are_read() {
    let (Some(old), Some(new)) = (Server::start(), Server::start()) else { return };
    new.follow(&old).await;
    let proxy = Proxy::to(old.port()).await;
    let bench = Bench::with(old.clone(), |options| options.server = address(&proxy.url())).await;
    bench.broker.revoke(block("kept")).await.unwrap();
    until("the replica has it", || new.run::<bool>(&["HEXISTS", &bench.revocations(), "u:kept"])).await;
    let _: () = new.run(&["REPLICAOF", "NO", "ONE"]);
    bench.broker.revoke(block("tail")).await.unwrap();
    // Another node is at the new master already.
    let _: usize = new.run(&["HSET", &bench.revocations(), "u:other", "0 "]);
    let version: u64 = new.run(&["HINCRBY", &bench.revocations(), "version", "1"]);
    assert_eq!(version, old.run::<u64>(&["HGET", &bench.revocations(), "version"]));
    let _: () = old.run(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    proxy.turn_to(new.port());
    proxy.cut(true);
    until("what the other one revoked is read", || bench.bars("other")).await;
    until("what was lost is given back", || new.run::<bool>(&["HEXISTS", &bench.revocations(), "u:tail"])).await;
    assert!(bench.bars("kept") && bench.bars("tail"));
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    assert!(bench.broker.unrevoke(&block("kept").subject).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!bench.bars("kept") && !new.run::<bool>(&["HEXISTS", &bench.revocations(), "u:kept"]));
}

/// The first replica changes the name of the history, and the next change brings it: what that takes back was no loss.
#[tokio::test]
async fn defect_what_is_taken_back_first_under_another_life_stays_so() {
    let (Some(server), Some(replica)) = (Server::start(), Server::start()) else { return };
    let [one, other] = two_nodes(server.clone()).await;
    one.broker.revoke(block("42")).await.unwrap();
    replica.follow(&server).await;
    assert!(other.broker.unrevoke(&block("42").subject).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!one.bars("42") && !other.bars("42"));
    assert!(!server.run::<bool>(&["HEXISTS", &one.revocations(), "u:42"]));
}

/// Pages of two versions were thrown away, each time: a node never read what was changed all the time.
#[tokio::test]
async fn defect_revocations_that_change_all_the_time_are_read() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server.clone()).await;
    let fill =
        "for i = 1, 10000 do redis.call('HSET', KEYS[1], 'u:' .. i, '0 ') end redis.call('HSET', KEYS[1], 'life', 'l')";
    let (mut changes, key) = (server.connect(), bench.revocations());
    let is_over = Arc::new(AtomicBool::new(false));
    let changing = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(Ordering::Relaxed) {
                redis::cmd("HINCRBY").arg(&key).arg("version").arg(1).exec(&mut changes).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    });
    let _: Option<String> = server.run(&["EVAL", fill, "1", &bench.revocations()]);
    until("they are read", || bench.broker.revoked().all(0).len() == 10_000).await;
    assert!(!changing.is_finished());
    is_over.store(true, Ordering::Relaxed);
    changing.join().unwrap();
}

/// More than there may be were taken in part, at random.
#[tokio::test]
async fn defect_of_too_many_what_was_known_holds() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.broker.revoke(block("known")).await.unwrap();
    let large = "x".repeat(2_000);
    let _: usize = bench.server.run(&["HSET", &bench.revocations(), &large, "0 ", "u:2", &large]);
    let _: usize = bench.server.run(&["HINCRBY", &bench.revocations(), "version", "1"]);
    until("the large ones are counted", || {
        bench.metric("fanfare_broker_bad_messages_total", Some("revocation")) >= 2.0
    })
    .await;
    let fill = format!(
        "for i = 1, {REVOCATIONS_MAX} do redis.call('HSET', KEYS[1], 'u:' .. i, '0 ') end redis.call('HDEL', KEYS[1], 'u:known') redis.call('HSET', KEYS[1], 'u:one more', '0 ') redis.call('HINCRBY', KEYS[1], 'version', 1)",
    );
    let _: Option<String> = bench.server.run(&["EVAL", &fill, "1", &bench.revocations()]);
    until("it is not read", || bench.metric("fanfare_redis_revocation_reads_failed_total", None) >= 1.0).await;
    assert!(bench.bars("known") && bench.holds().len() == 1);
    let _: usize = bench.server.run(&["DEL", &bench.revocations()]);
}
