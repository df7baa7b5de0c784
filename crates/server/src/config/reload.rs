//! What a running node takes of a configuration that is read anew: keys, access rules, limits, origins. The rest needs a
//! restart; its running values stay, and its keys are named.

use super::problem::Problems;
use super::schema::{self, Section};
use super::settings::{Origin, Setting, Settings};
use super::{Config, Loaded, checks};

/// Keys outside of the sections below that are taken too.
const LIVE_KEYS: &[&str] = &["listen.allowed_origins", "listen.trusted_proxies", "drain.window"];

/// Sections of which every key is taken. Tables of `[api.named_keys]`, `[auth.keys]`, `[auth.issuers]` and
/// `[access.roles]` may come and go.
const LIVE_SECTIONS: &[&str] = &[
    "api",
    schema::API_KEY_FAMILY,
    "auth",
    schema::TOKEN_KEY_FAMILY,
    schema::TOKEN_ISSUER_FAMILY,
    "access",
    schema::ROLE_FAMILY,
    "limits",
];

/// Limits that are not: the budget of memory, and the sizes of what is under way.
const FIXED_LIMITS: &[&str] =
    &["memory_max", "message_bytes_max", "payload_bytes_max", "channel_bytes_max", "ring_bytes_max"];

/// Keys of `[channels]` and of each namespace that are taken: who may do what. Namespaces come and go with a restart.
const LIVE_CHANNEL_KEYS: &[&str] = &["subscribe", "publish", "read_history", "read_presence"];

/// A configuration that a running node can take.
pub struct Reloaded {
    /// The configuration; what needs a restart is in it as it is running.
    pub config: Config,
    /// The same by keys, to be compared with the next one.
    pub settings: Settings,
    /// Keys, or tables of namespaces, that are configured otherwise and wait for a restart.
    pub after_restart: Vec<String>,
}

/// Whether a running node takes a key of this section.
fn is_live(section: &Section, key: &str) -> bool {
    match section.name {
        schema::CHANNELS => LIVE_CHANNEL_KEYS.contains(&key),
        "limits" => !FIXED_LIMITS.contains(&key),
        name => LIVE_SECTIONS.contains(&name) || LIVE_KEYS.contains(&&*format!("{name}.{key}")),
    }
}

impl Setting {
    fn is_live(&self) -> bool {
        is_live(self.section, self.key.name)
    }

    /// Whether it stands in a table that comes and goes with a restart: of a namespace, or a hook.
    fn comes_with_a_restart(&self) -> bool {
        self.namespace.is_some() && [schema::CHANNELS, schema::HOOK_FAMILY].contains(&self.section.name)
    }
}

impl Loaded {
    /// What a node that runs with `running` takes of this.
    ///
    /// # Errors
    /// What is good by itself, but not together with what needs a restart.
    pub fn over(self, running: &Settings) -> Result<Reloaded, Problems> {
        let mut settings = self.settings;
        let mut after_restart = keep_tables(&mut settings, running);
        for setting in settings.entries.iter_mut().filter(|setting| !setting.is_live()) {
            let title = setting.title();
            let Some(old) = running.entries.iter().find(|old| old.title() == title) else { continue };
            if !setting.value.is_same(&old.value) {
                after_restart.push(title);
                setting.value = old.value.clone();
                setting.origin = Origin::Running;
            }
        }
        let mut problems = checks::relations(&settings);
        problems.extend(checks::missing(&settings));
        if !problems.is_empty() {
            return Err(Problems::sorted(problems));
        }
        Ok(Reloaded { config: settings.draft().finish(), settings, after_restart })
    }
}

/// Takes the running namespaces and hooks for those that were read. Returns the tables that are there in one of them
/// only.
fn keep_tables(settings: &mut Settings, running: &Settings) -> Vec<String> {
    let tables = |settings: &Settings| {
        let mut tables: Vec<String> =
            settings.iter().filter(|one| one.comes_with_a_restart()).map(Setting::table).collect();
        tables.dedup();
        tables
    };
    let (read, old) = (tables(settings), tables(running));
    let of = |setting: &Setting, tables: &[String]| setting.comes_with_a_restart() && tables.contains(&setting.table());
    let missing: Vec<String> = old.iter().filter(|table| !read.contains(table)).cloned().collect();
    let new: Vec<String> = read.into_iter().filter(|table| !old.contains(table)).collect();
    settings.entries.retain(|setting| !of(setting, &new));
    let kept = running.entries.iter().filter(|setting| of(setting, &missing));
    settings.entries.extend(kept.map(|setting| Setting { origin: Origin::Running, ..setting.clone() }));
    new.into_iter().chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Source, Sources};
    use super::*;

    const NEEDED: &str = "[api]\nkeys = [\"0123456789abcdef\"]\n[auth]\nallow_anonymous = true\n";

    fn load(text: &str) -> Loaded {
        let file = Some(Source::from_text("fanfare.toml", format!("{NEEDED}{text}")));
        Config::load(Sources { file, ..Sources::default() }).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[track_caller]
    fn check(before: &str, after: &str, waiting: &[&str]) -> Config {
        let running = load(before).settings;
        let reloaded = load(after).over(&running).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(reloaded.after_restart, waiting);
        reloaded.config
    }

    #[test]
    fn limits_and_rules_are_taken_and_the_rest_waits() {
        let config = check(
            "",
            "[limits]\nsessions_max = 7\nring_bytes_max = \"1MiB\"\n[session]\nping_interval = \"11s\"\n\
             [channels]\nsubscribe = \"anyone\"\nhistory_size = 5\n[access.roles.staff]\nsubscribe = [\"a:*\"]\n",
            &["channels.history_size", "session.ping_interval", "limits.ring_bytes_max"],
        );
        assert_eq!(config.gateway.sessions_max, 7);
        assert_eq!(config.gateway.ring_bytes_max, 16 << 20);
        assert_eq!(config.gateway.ping_interval, Some(std::time::Duration::from_secs(25)));
        assert!(config.auth.roles.rules.contains_key("staff"));
        let channel = fanfare_protocol::Channel::parse("news").unwrap();
        let options = config.namespaces.options(&channel).unwrap();
        assert_eq!(options.access.subscribe, fanfare_broker::namespaces::Audience::Anyone);
        assert_eq!(options.retention.unwrap().size, 100);
    }

    #[test]
    fn namespaces_come_and_go_with_a_restart() {
        let (old, new) = ("[channels.namespaces.old]\n", "[channels.namespaces.new]\n");
        let config = check(old, new, &["channels.namespaces.new", "channels.namespaces.old"]);
        assert!(config.namespaces.has("old") && !config.namespaces.has("new"));
        let opened =
            check(old, &format!("{old}publish = \"users\"\npresence = true\n"), &["channels.namespaces.old.presence"]);
        let channel = fanfare_protocol::Channel::parse("old:x").unwrap();
        let options = opened.namespaces.options(&channel).unwrap();
        assert_eq!(options.access.publish, fanfare_broker::namespaces::Audience::Users);
        assert!(!options.presence);
    }

    #[test]
    fn defect_a_hook_that_was_taken_out_was_gone_without_a_restart() {
        let hook = |name: &str| format!("[hooks.{name}]\nurl = \"http://127.0.0.1:1/\"\npass_headers = [\"cookie\"]\n");
        let config = check(&hook("connect"), &hook("rpc"), &["hooks.rpc", "hooks.connect"]);
        assert_eq!(config.hooks.keys().map(|hook| hook.name()).collect::<Vec<_>>(), ["connect"]);
    }

    #[test]
    fn defect_nobody_could_connect_when_a_hook_took_the_place_of_a_secret() {
        let api = "[api]\nkeys = [\"0123456789abcdef\"]\n";
        let load = |text: &str| {
            let file = Some(Source::from_text("fanfare.toml", format!("{api}{text}")));
            Config::load(Sources { file, ..Sources::default() }).unwrap_or_else(|problems| panic!("{problems}"))
        };
        let secret = "[auth]\nhmac_secret = \"0123456789abcdef0123456789abcdef-x9\"\n";
        let running = load(secret).settings;
        let hook = load("[hooks.connect]\nurl = \"http://127.0.0.1:1/\"\n");
        let problems = hook.over(&running).err().expect("the hook waits for a restart").to_string();
        assert!(problems.contains("auth.hmac_secret"), "{problems}");
    }

    #[test]
    fn what_does_not_go_with_what_is_running_is_refused() {
        let running = load("").settings;
        // Good with a smaller payload, which needs a restart.
        let problems = load("[limits]\noutbox_bytes_max = \"64KiB\"\npayload_bytes_max = \"1KiB\"\n").over(&running);
        let problems = problems.err().expect("the payloads stay large").to_string();
        assert!(problems.contains("limits.outbox_bytes_max (64KiB) must be at least twice"), "{problems}");
    }

    #[test]
    fn what_waits_is_named_again_and_nothing_is_when_it_is_as_before() {
        let running = load("").settings;
        let first = load("[node]\nname = \"b\"\n").over(&running).unwrap();
        assert_eq!(first.after_restart, ["node.name"]);
        let again = load("[node]\nname = \"b\"\n").over(&first.settings).unwrap();
        assert_eq!(again.after_restart, ["node.name"]);
        assert!(load("").over(&again.settings).unwrap().after_restart.is_empty());
    }

    #[test]
    fn every_key_that_is_named_here_exists() {
        let has = |section: &str, key: &str| schema::section(section).and_then(|section| section.key(key)).is_some();
        assert!(LIVE_KEYS.iter().all(|key| key.split_once('.').is_some_and(|(section, key)| has(section, key))));
        assert!(FIXED_LIMITS.iter().all(|key| has("limits", key)));
        assert!(LIVE_CHANNEL_KEYS.iter().all(|key| has(schema::CHANNELS, key)));
        let sections = LIVE_SECTIONS.iter();
        assert!(sections.into_iter().all(|name| schema::section(name).or_else(|| schema::family(name)).is_some()));
    }
}
