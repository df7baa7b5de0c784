//! What is taken, from where, and what becomes of it.

use std::time::Duration;

use fanfare_api::Scope;
use fanfare_auth::{Algorithm, Operation, Pattern, Secret, Uses};
use fanfare_broker::Retention;
use fanfare_broker::namespaces::{Audience, ChannelOptions};
use fanfare_broker_redis::Server;
use fanfare_gateway::Hook;
use fanfare_protocol::{Channel, PayloadLimits};

use super::draft::Draft;
use super::schema::{self, Key, Section};
use super::settings::Settings;
use super::value::Kind;
use super::variables::{self, name_of};
use super::{Config, Flag, Loaded, Redis, Source, Sources, Variables, annotated, units};
use crate::memory::Max;

const KEY: &str = "0123456789abcdef";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn file(text: &str) -> Option<Source> {
    Some(Source::from_text("fanfare.toml", text.to_owned()))
}

fn load(sources: Sources) -> Loaded {
    Config::load_partial(sources)
        .map_err(|problems| problems.to_string())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn load_file(text: &str) -> Loaded {
    load(Sources { file: file(text), ..Sources::default() })
}

fn every_key() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    schema::SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

/// A value that differs from the default, on any machine.
fn other_value(key: &Key) -> String {
    match key.kind {
        Kind::Duration(min, _) => units::duration_text(min + Duration::from_millis(777)),
        Kind::Size(min, _) => units::size_text(min + 7),
        Kind::Memory(min) => units::size_text(min + 7),
        Kind::Count(_, max) => (max - 1).to_string(),
        Kind::Bool => (key.default != "true").to_string(),
        Kind::Text(_) => "other".to_owned(),
        Kind::Patterns => "a:*, b:**".to_owned(),
        Kind::HttpsUrl => "https://id.example.com/keys".to_owned(),
        Kind::HttpUrl => "http://127.0.0.1:3000/".to_owned(),
        Kind::HeaderNames => "cookie".to_owned(),
        Kind::HeaderLines => "X-Tenant: blue".to_owned(),
        Kind::Date => "2026-12-31".to_owned(),
        Kind::Choice(words) => words[words.len() - 1].to_owned(),
        Kind::Audience(_) => "users".to_owned(),
        Kind::Address => "0.0.0.0:9".to_owned(),
        Kind::Origins => "https://a.example, https://b.example".to_owned(),
        Kind::Hosts => "hub.example, [::1]".to_owned(),
        Kind::PersonalChannel => "#".to_owned(),
        Kind::Secret => SECRET.to_owned(),
        Kind::RedisUrl => "redis://:pass@127.0.0.1:7000".to_owned(),
        Kind::Networks => "10.0.0.0/8, ::1".to_owned(),
        Kind::HeaderSecret(_) => KEY.to_owned(),
        Kind::Words(words) => words[0].to_owned(),
        Kind::KeyPatterns(_) => "news:*".to_owned(),
        Kind::Secrets(_) => format!("{KEY},{SECRET}"),
    }
}

fn lines_of(draft: Draft) -> Vec<String> {
    format!("{:#?}", draft.finish()).lines().map(str::to_owned).collect()
}

/// The field that a key ends up in, where it is not called like the key.
fn field<'a>(section: &str, key: &'a str) -> &'a str {
    match (section, key) {
        ("channels", "history_size") => "retention.size",
        ("channels", "history_ttl") => "retention.ttl",
        ("channels", "history_meta_ttl") => "retention.meta_ttl",
        ("channels", "subscribe_hook") => "asks_backend.subscribe",
        ("channels", "sub_refresh_hook") => "asks_backend.sub_refresh",
        ("channels", "publish_hook") => "asks_backend.publish",
        ("redis", "url") => "server",
        ("access", "roles_claim") => "claim",
        ("auth", "token_lifetime_max") => "lifetime_max",
        ("limits", "memory_max") => "memory.max",
        ("channels", "slow_consumer") => "slow_consumer",
        ("limits", "commands_per_second_max" | "user_commands_per_second_max") => "commands",
        ("limits", "publishes_per_second_max" | "user_publishes_per_second_max") => "publishes",
        ("limits", "bytes_per_second_max" | "user_bytes_per_second_max") => "bytes",
        (_, key) => key,
    }
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    let defaults = lines_of(Settings::defaults().draft());
    for (section, key) in every_key() {
        let (mut settings, variable, value) = (Settings::defaults(), name_of(section, key), other_value(key));
        let given: Variables = [(variable.clone(), value.clone())].into_iter().collect();
        let problems = variables::overlay(&given, &mut settings);
        assert_eq!(problems, [], "{variable}={value}");
        let setting = settings.get(&format!("{}.{}", section.name, key.name));
        assert_eq!(settings.origin_text(setting), format!("environment {variable}"));
        let changed = lines_of(settings.draft());
        assert_ne!(changed, defaults, "{variable} goes nowhere");
    }
}

#[test]
fn every_key_ends_up_in_its_own_field() {
    let defaults = lines_of(Settings::defaults().draft());
    for (section, key) in every_key() {
        let mut settings = Settings::defaults();
        variables::overlay(&[(name_of(section, key), other_value(key))].into_iter().collect(), &mut settings);
        let changed = lines_of(settings.draft());
        let at = changed.iter().zip(&defaults).position(|(one, other)| one != other).expect("it changes something");
        let name = field(section.name, key.name).rsplit('.').next().unwrap();
        // A value of several lines begins on the line of its field.
        let line = changed[..=at].iter().rev().find(|line| line.contains(": ")).unwrap();
        assert!(line.contains(name), "{}.{} changed {line}", section.name, key.name);
    }
}

#[test]
fn defaults_are_those_of_the_parts() {
    let config = Settings::defaults().draft().finish();
    assert_eq!(format!("{:?}", config.gateway), format!("{:?}", fanfare_gateway::Options::default()));
    assert_eq!(format!("{:?}", config.broker), format!("{:?}", fanfare_broker::memory::Options::default()));
    assert_eq!(format!("{:?}", config.auth), format!("{:?}", fanfare_auth::Options::default()));
    assert!(config.redis.server.is_none());
    let server = Server::parse("redis://127.0.0.1").unwrap();
    let redis = Redis { server: Some(server.clone()), ..config.redis.clone() }.options(PayloadLimits::default());
    assert_eq!(format!("{:?}", redis.unwrap()), format!("{:?}", fanfare_broker_redis::Options::new(server)));
    assert_eq!(config.arrivals, crate::arrivals::Options::default());
    assert_eq!(config.memory, crate::memory::Options::default());
    assert_eq!(config.listen.address, super::ADDRESS_DEFAULT);
    assert!(config.http_workers >= 1 && !config.dev);
}

fn options(config: &Config, channel: &str) -> Option<ChannelOptions> {
    config.namespaces.options(&Channel::parse(channel).unwrap()).cloned()
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[test]
fn channels_are_closed_with_history_unless_something_is_said() {
    let options = options(&load_file("").config, "news").unwrap();
    let retention = Retention { size: 100, ttl: minutes(5), meta_ttl: minutes(24 * 60) };
    assert_eq!(options, ChannelOptions { retention: Some(retention), ..ChannelOptions::default() });
}

#[test]
fn a_namespace_takes_nothing_from_the_channels_without_one() {
    let text = "[channels]\nhistory_size = 0\npublish = \"users\"\npresence = true\n\
                [channels.namespaces.chat]\nread_history = \"subscribers\"\nhistory_ttl = \"1h\"\n\
                [channels.namespaces.bare]\n";
    let config = load_file(text).config;
    assert_eq!(options(&config, "news").unwrap().retention, None);
    assert_eq!(options(&config, "news").unwrap().access.publish, Audience::Users);
    let chat = options(&config, "chat:1").unwrap();
    assert_eq!(chat.retention.unwrap(), Retention { size: 100, ttl: minutes(60), meta_ttl: minutes(24 * 60) });
    assert_eq!((chat.access.read_history, chat.access.publish), (Audience::Subscribers, Audience::Nobody));
    assert!(!chat.presence);
    assert!(options(&config, "bare:1").is_some());
    assert_eq!(options(&config, "other:1"), None);
}

fn flag(value: &str) -> Vec<Flag> {
    vec![Flag { name: "--listen", key: "listen.address", value: value.to_owned() }]
}

fn address_and_origin(sources: Sources) -> (String, String) {
    let loaded = load(sources);
    let setting = loaded.settings.get("listen.address");
    (loaded.config.listen.address.to_string(), loaded.settings.origin_text(setting))
}

#[test]
fn a_flag_counts_before_a_variable_before_the_file_before_the_default() {
    let text = file("[log]\nlevel = \"warn\"\n[listen]\naddress = \"127.0.0.1:1\"\n");
    let variable: Variables = [("FANFARE_LISTEN__ADDRESS", "127.0.0.1:2")].into_iter().collect();
    let expect = |sources: Sources, address: &str, origin: &str| {
        assert_eq!(address_and_origin(sources), (address.to_owned(), origin.to_owned()));
    };
    expect(Sources::default(), "127.0.0.1:8000", "default");
    expect(Sources { file: text.clone(), ..Sources::default() }, "127.0.0.1:1", "fanfare.toml:4");
    let both = Sources { file: text, variables: variable, ..Sources::default() };
    expect(both.clone(), "127.0.0.1:2", "environment FANFARE_LISTEN__ADDRESS");
    expect(Sources { flags: flag("127.0.0.1:3"), ..both.clone() }, "127.0.0.1:3", "flag --listen");
    expect(
        Sources { file: None, variables: Variables::default(), flags: flag("127.0.0.1:3") },
        "127.0.0.1:3",
        "flag --listen",
    );
    expect(Sources { file: None, ..both }, "127.0.0.1:2", "environment FANFARE_LISTEN__ADDRESS");
}

#[test]
fn a_value_of_the_file_is_judged_even_where_a_flag_counts() {
    let sources = Sources { file: file("[listen]\naddress = 5\n"), flags: flag("127.0.0.1:3"), ..Sources::default() };
    assert!(Config::load_partial(sources).is_err());
}

#[test]
fn words_stand_in_place_of_values() {
    let text = "[session]\nping_interval = \"off\"\npersonal_channel = \"chat:#\"\n[limits]\nsessions_per_user_max = 5\n\
                [auth]\naudience = \"off\"\nissuer = \"me\"\n[node]\nshards = \"auto\"\n[channels.namespaces.chat]\n";
    let config = load_file(text).config;
    assert_eq!(config.gateway.ping_interval, None);
    assert_eq!(config.gateway.personal_channel.as_deref(), Some("chat"));
    assert_eq!(config.gateway.sessions_per_user_max, Some(5));
    assert_eq!((config.auth.audience, config.auth.issuer.as_deref()), (None, Some("me")));
    assert!(config.gateway.shards >= 1);
    assert_eq!(load_file("[session]\npersonal_channel = \"#\"\n").config.gateway.personal_channel.as_deref(), Some(""));
}

#[test]
fn tables_can_be_written_in_any_way() {
    for text in
        ["log.level = \"warn\"\n", "log = { level = \"warn\" }\n", "\u{feff}[log]\r\n  level   = 'warn' # loud\r\n"]
    {
        assert_eq!(load_file(text).config.log.level.as_str(), "warn", "{text:?}");
    }
    assert_eq!(load_file("[limits]\nsessions_max = 1_000\n").config.gateway.sessions_max, 1_000);
}

#[test]
fn variables_of_others_and_empty_ones_are_left_alone() {
    let names = [
        ("FANFARE_SERVER", "x"),
        ("FANFARE_CA_FILE", "x"),
        ("FANFARE_API_KEY", "x"),
        ("FANFARE_API_KEY_FILE", "x"),
        ("FANFARE_TOKEN", "x"),
        ("FANFARE_TOKEN_FILE", "x"),
        ("FANFARE_CONFIG", "x"),
        ("FANFARE_SERVICE_HOST", "10.0.0.1"),
        ("FANFARE_SERVICE_PORT_HTTP", "80"),
        ("FANFARE_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("FANFARE_LISTEN__ADDRESS", ""),
        ("FANFARE_LISTEN__ADRESS", ""),
        ("HOME", "/root"),
    ];
    let loaded = load(Sources { variables: names.into_iter().collect(), ..Sources::default() });
    assert_eq!(loaded.config.listen.address, super::ADDRESS_DEFAULT);
}

#[test]
fn secrets_can_be_read_from_files() {
    let folder = std::env::temp_dir().join(format!("fanfare-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let names = [
        ("FANFARE_AUTH__HMAC_SECRET_FILE", write("hmac", format!("{SECRET}\n"))),
        ("FANFARE_API__KEYS_FILE", write("keys", format!("{KEY}\r\n\n{SECRET}\n"))),
    ];
    let loaded = Config::load(Sources { variables: names.into_iter().collect(), ..Sources::default() });
    std::fs::remove_dir_all(&folder).unwrap();
    let config = loaded.map_err(|problems| problems.to_string()).unwrap_or_else(|problems| panic!("{problems}")).config;
    assert_eq!(config.auth.hmac_secret.unwrap().expose(), SECRET);
    assert_eq!(config.api.keys.iter().map(|key| key.expose()).collect::<Vec<_>>(), [KEY, SECRET]);
}

const NAMED_KEYS: &str = "[auth]\nallow_anonymous = true\n\
     [api.named_keys.shop-eu]\nscopes = [\"publish\", \"read\"]\nchannels = [\"news:*\", \"alerts:**\"]\n\
     [api.named_keys.\"watch.1\"]\nscopes = [\"admin\"]\nchannels = []\n";

/// A folder with these files, which is gone after the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("fanfare-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(path.join(name), text).unwrap());
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn load_serve(sources: Sources) -> Loaded {
    Config::load(sources).map_err(|problems| problems.to_string()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn active(key: &fanfare_api::Key) -> Vec<&str> {
    key.active.iter().map(|secret| secret.expose()).collect()
}

#[test]
fn named_keys_have_secrets_scopes_and_patterns() {
    let text = format!(
        "[auth]\nallow_anonymous = true\n[api.named_keys.shop]\nsecret = \"{KEY}\"\nprevious = \"{SECRET}\"\n\
         scopes = [\"control\", \"publish\"]\nchannels = [\"news:*\", \"alerts:**\"]\n"
    );
    let loaded = load_serve(Sources { file: file(&text), ..Sources::default() });
    let [shop] = &loaded.config.api.named_keys[..] else { panic!("{:?}", loaded.config.api.named_keys) };
    assert_eq!((&*shop.name, active(shop)), ("shop", vec![KEY, SECRET]));
    assert_eq!(shop.scopes, [Scope::Control, Scope::Publish]);
    assert_eq!(shop.channels.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["news:*", "alerts:**"]);
    assert!(loaded.config.api.keys.is_empty());
    let shown = loaded.settings.to_toml_lines(true).join("\n") + &loaded.settings.to_json_lines().join("\n");
    assert!(shown.contains("[api.named_keys.shop]\nsecret = \"(set, hidden)\""), "{shown}");
    assert!(shown.contains("channels = [\"news:*\", \"alerts:**\"]"), "{shown}");
    let all = shown + &format!("{:?}", loaded.config);
    assert!(!all.contains(KEY) && !all.contains(SECRET), "{all}");
}

#[test]
fn secrets_of_named_keys_come_from_variables_and_their_files() {
    let folder = Folder::with("named", &[("old", &format!("{SECRET}\n"))]);
    let variables: Variables = [
        ("FANFARE_API__NAMED_KEYS__SHOP_EU__SECRET", KEY.to_owned()),
        ("FANFARE_API__NAMED_KEYS__SHOP_EU__PREVIOUS_FILE", folder.file("old")),
        ("FANFARE_API__NAMED_KEYS__WATCH_1__SECRET", "fedcba9876543210".to_owned()),
    ]
    .into_iter()
    .collect();
    let loaded = load_serve(Sources { file: file(NAMED_KEYS), variables, ..Sources::default() });
    let keys: Vec<_> = loaded.config.api.named_keys.iter().map(|key| (&*key.name, active(key))).collect();
    assert_eq!(keys, [("shop-eu", vec![KEY, SECRET]), ("watch.1", vec!["fedcba9876543210"])]);
}

#[test]
fn secrets_of_keys_for_tokens_come_from_variables_and_credentials_too() {
    let folder = Folder::with("tokens", &[("auth.keys.2027.secret", SECRET)]);
    let variables: Variables = [
        ("FANFARE_AUTH__KEYS__NEXT_ONE__SECRET", SECRET.chars().rev().collect()),
        ("CREDENTIALS_DIRECTORY", folder.0.display().to_string()),
    ]
    .into_iter()
    .collect();
    let text = format!(
        "[api]\nkeys = [\"{KEY}\"]\n[auth.keys.2027]\nalgorithm = \"HS256\"\n[auth.keys.next-one]\n\
         algorithm = \"HS256\"\n"
    );
    let loaded = load_serve(Sources { file: file(&text), variables, ..Sources::default() });
    let secrets: Vec<_> = loaded.config.token_keys.iter().map(|key| key.secret.as_ref().map(Secret::expose)).collect();
    assert_eq!(secrets, [Some(SECRET), Some("fedcba9876543210fedcba9876543210")]);
}

#[test]
fn secrets_come_from_credentials_of_systemd() {
    let files = [
        ("auth.hmac_secret", format!("{SECRET}\n")),
        ("api.keys", "fedcba98765432100\nfedcba98765432101\n".to_owned()),
        ("api.named_keys.shop-eu.secret", KEY.to_owned()),
        ("api.named_keys.shop-eu.previous", "overruled-by-a-variable".to_owned()),
        ("api.named_keys.watch.1.secret", "fedcba9876543210".to_owned()),
        ("of.somebody-else", String::new()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let folder = Folder::with("credentials", &files);
    let variables: Variables = [
        ("CREDENTIALS_DIRECTORY", folder.0.display().to_string()),
        ("FANFARE_API__NAMED_KEYS__SHOP_EU__PREVIOUS", "the-one-of-the-variable".to_owned()),
    ]
    .into_iter()
    .collect();
    let loaded = load_serve(Sources { file: file(NAMED_KEYS), variables, ..Sources::default() });
    assert_eq!(loaded.config.auth.hmac_secret.as_ref().unwrap().expose(), SECRET);
    assert_eq!(loaded.config.api.keys.len(), 2);
    let keys: Vec<_> = loaded.config.api.named_keys.iter().map(|key| (&*key.name, active(key))).collect();
    let expected = [("shop-eu", vec![KEY, "the-one-of-the-variable"]), ("watch.1", vec!["fedcba9876543210"])];
    assert_eq!(keys, expected);
    let shown = loaded.settings.to_toml_lines(true).join("\n");
    assert!(shown.contains("# credential api.named_keys.watch.1.secret"), "{shown}");
    assert!(shown.contains("# credential api.keys"), "{shown}");
}

#[test]
fn serve_starts_without_a_token_secret_if_anonymous_clients_are_let_in() {
    let text = format!("[api]\nkeys = [\"{KEY}\"]\n[auth]\nallow_anonymous = true\n");
    let loaded = Config::load(Sources { file: file(&text), ..Sources::default() }).map(|loaded| loaded.config);
    let config = loaded.map_err(|problems| problems.to_string()).unwrap();
    assert!(config.gateway.allow_anonymous && config.auth.hmac_secret.is_none());
}

#[test]
fn keys_for_tokens_are_read_by_name() {
    let text = "[auth.keys.main]\nalgorithm = \"RS256\"\nfile = \"/etc/fanfare/main.pem\"\nkid = \"2026-a\"\n\
                [auth.keys.\"old.one\"]\nalgorithm = \"HS512\"\nuse = \"subscriptions\"\naccept_until = 2026-12-31\n\
                secret = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
    let loaded =
        Config::load(Sources { file: file(&format!("[api]\nkeys = [\"{KEY}\"]\n{text}")), ..Sources::default() });
    let loaded = loaded.map_err(|problems| problems.to_string()).unwrap_or_else(|problems| panic!("{problems}"));
    let [main, old] = &loaded.config.token_keys[..] else { panic!("{:?}", loaded.config.token_keys) };
    assert_eq!((main.name.as_str(), main.algorithm, main.uses), ("main", Algorithm::RS256, Uses::Both));
    assert_eq!((main.key_id.as_deref(), main.accept_until), (Some("2026-a"), None));
    assert_eq!(main.file.as_deref(), Some(std::path::Path::new("/etc/fanfare/main.pem")));
    assert_eq!(
        (old.algorithm, old.uses, old.accept_until),
        (Algorithm::HS512, Uses::Subscriptions, Some(1_798_675_200))
    );
    let lines = loaded.settings.to_toml_lines(false).join("\n");
    assert!(lines.contains("[auth.keys.\"old.one\"]") && lines.contains("accept_until = \"2026-12-31\""), "{lines}");
    assert!(!lines.contains(SECRET), "{lines}");
}

#[test]
fn roles_are_read_by_name() {
    let config = load_file(
        "[access]\nroles_claim = \"realm_access.roles\"\n[access.roles.editor]\npublish = [\"news:*\", \"box:{user}\"]\n",
    )
    .config;
    assert_eq!(config.auth.roles.claim.as_deref(), Some("realm_access.roles"));
    let editor = &config.auth.roles.rules["editor"];
    assert_eq!(editor.allowing(Operation::Publish, "box:42", "42").map(Pattern::as_str), Some("box:{user}"));
    let scope = load_file("[access.roles.\"news:write\"]\npublish = [\"news:*\"]\n");
    assert!(scope.config.auth.roles.rules.contains_key("news:write"));
    let lines = scope.settings.to_toml_lines(false).join("\n");
    assert!(lines.contains("[access.roles.\"news:write\"]\n") && lines.contains("publish = [\"news:*\"]"), "{lines}");
    assert_eq!((editor.len(), editor.allowing(Operation::Subscribe, "news:a", "42")), (2, None));
}

fn warnings(text: &str) -> Vec<String> {
    load_file(text).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_perhaps_not_meant_is_warned_of() {
    assert_eq!(warnings(""), [""; 0]);
    assert_eq!(warnings("[auth]\nallow_anonymous = true\n[channels]\nsubscribe = \"anyone\"\n"), [""; 0]);
    for (text, warning) in [
        (
            "[channels]\nsubscribe = \"anyone\"\n",
            "fanfare.toml:2:13: channels.subscribe is \"anyone\", but only users with a token can connect\n  |\n\
             2 | subscribe = \"anyone\"\n  |             ^^^^^^^^\n  \
             = hint: write \"users\", or set auth.allow_anonymous = true",
        ),
        (
            "[channels.namespaces.a]\nhistory_size = 0\nread_history = \"users\"\n",
            "fanfare.toml:3:16: channels.namespaces.a.read_history has no effect: channels.namespaces.a.history_size is 0\n  |\n\
             3 | read_history = \"users\"\n  |                ^^^^^^^",
        ),
        (
            "[channels]\nread_presence = \"users\"\n",
            "fanfare.toml:2:17: channels.read_presence has no effect: channels.presence is false\n  |\n\
             2 | read_presence = \"users\"\n  |                 ^^^^^^^",
        ),
        (
            "[auth]\nallow_short_secret = true\nhmac_secret = \"short\"\n",
            "fanfare.toml:3:15: auth.hmac_secret has 5 bytes, 32 are needed: whoever guesses it can be any user\n  |\n\
             3 | hmac_secret = \"*****\"\n  |               ^^^^^^^\n  \
             = hint: take it for trying things out only; `openssl rand -hex 32` makes a good one",
        ),
        (
            "[access]\nroles_claim = \"off\"\n[access.roles.editor]\n",
            "fanfare.toml:2:15: access.roles_claim is \"off\", so that nobody has a role\n  |\n\
             2 | roles_claim = \"off\"\n  |               ^^^^^\n  = hint: name the claim, or take the tables of roles out",
        ),
        (
            "[limits]\nchannels_per_session_max = 5000\n",
            "fanfare.toml:2:28: limits.channels_per_session_max (5000) is more than a client can say at once: 1000 \
             commands, ten seconds of limits.commands_per_second_max\n  |\n\
             2 | channels_per_session_max = 5000\n  |                            ^^^^\n  \
             = hint: raise limits.commands_per_second_max to 501 or more",
        ),
        (
            "[listen]\nallowed_origins = [\"*\"]\n",
            "fanfare.toml:2:19: listen.allowed_origins lets any web page connect\n  |\n\
             2 | allowed_origins = [\"*\"]\n  |                   ^^^^^\n  = hint: name the origins of your own pages",
        ),
    ] {
        assert_eq!(warnings(text), [warning]);
    }
}

#[cfg(unix)]
#[test]
fn a_file_of_secrets_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("fanfare-exposed-{}.toml", std::process::id()));
    let warnings = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load(Sources { file: Some(Source::read(&path).unwrap()), ..Sources::default() });
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (name, secret) = (path.display(), format!("[auth]\nhmac_secret = \"{SECRET}\"\n"));
    assert_eq!(
        warnings(&secret, 0o644),
        [format!("{name} holds secrets and can be read by everybody on this machine\n  = hint: chmod 600 {name}")]
    );
    assert_eq!(warnings(&secret, 0o640), [""; 0]);
    assert_eq!(warnings("[log]\nlevel = \"warn\"\n", 0o644), [""; 0]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn dev_is_open_and_its_secret_is_new_each_time() {
    let (one, two) = (Config::dev(), Config::dev());
    assert!(one.dev && one.gateway.allow_anonymous && one.api.keys.is_empty());
    let secret = |config: &Config| config.auth.hmac_secret.as_ref().map(|secret| secret.expose().to_owned());
    assert_ne!(secret(&one), secret(&two));
    assert_eq!(secret(&one).unwrap().len(), 64);
    let options = options(&one, "news").unwrap();
    assert!(options.presence && options.join_leave && options.retention.is_some());
    let access = options.access;
    assert_eq!([access.subscribe, access.publish, access.read_history, access.read_presence], [Audience::Anyone; 4]);
}

/// Ctrl-C in a terminal took up to ten seconds while a page was open: the drain window of production.
#[test]
fn dev_ends_at_once_though_clients_are_connected() {
    assert_eq!(Config::dev().drain_window, Duration::ZERO);
}

#[test]
fn hooks_are_asked_as_their_tables_say() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let folder = Folder::with("hooks", &[("old", &format!("{secret}\n"))]);
    let text = "[hooks.connect]\nurl = \"http://app:3000/connect\"\nallow_unencrypted = true\n\
                pass_headers = [\"Cookie\"]\nheaders = [\"Authorization: Bearer hidden\"]\ntimeout = \"2s\"\n\
                [hooks.publish]\nurl = \"https://app.example.com/publish\"\nin_flight_max = 7\n\
                [channels.namespaces.chat]\npublish_hook = true\npublish = \"users\"\n\
                [api]\nkeys = [\"0123456789abcdef\"]\n";
    let variables = [
        ("FANFARE_HOOKS__CONNECT__SECRETS", secret.to_owned()),
        ("FANFARE_HOOKS__PUBLISH__SECRETS_FILE", folder.file("old")),
    ];
    let loaded =
        load_serve(Sources { file: file(text), variables: variables.into_iter().collect(), ..Sources::default() });
    let [connect, publish] = [Hook::Connect, Hook::Publish].map(|hook| &loaded.config.hooks[&hook]);
    assert_eq!(connect.endpoint.to_string(), "http://app:3000/connect");
    assert_eq!((connect.timeout, connect.pass_headers[0].as_str()), (Duration::from_secs(2), "cookie"));
    assert_eq!((connect.headers.len(), connect.signing_keys.len(), publish.signing_keys.len()), (1, 1, 1));
    assert_eq!((publish.in_flight_max, publish.timeout), (7, Duration::from_secs(1)));
    assert!(options(&loaded.config, "chat:1").unwrap().asks_backend.publish);
    let shown = format!("{:?}{:?}", loaded.config, loaded.settings.to_toml_lines(true));
    assert!(!shown.contains("hidden\"") && !shown.contains("Bearer") && !shown.contains(secret), "{shown}");
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.to_string().contains("channels.namespaces.chat.publish has no effect"), "{warning}");
}

#[test]
fn a_secret_is_never_printed() {
    let text = format!("[api]\nkeys = [\"{KEY}\"]\n[auth]\nhmac_secret = \"{SECRET}\"\n");
    let loaded = load_file(&text);
    let lines = [loaded.settings.to_toml_lines(true), loaded.settings.to_json_lines()].concat().join("\n");
    let debug = format!("{:?}", loaded.config);
    assert!(!lines.contains(KEY) && !debug.contains(KEY), "{lines}\n{debug}");
    assert!(lines.contains("hmac_secret = \"(set, hidden)\""), "{lines}");
}

#[test]
fn the_annotated_file_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/fanfare.toml");
    if std::env::var_os("FANFARE_UPDATE_CONFIG").is_some() {
        std::fs::write(path, annotated()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(written == annotated(), "config/fanfare.toml is not current: run this test with FANFARE_UPDATE_CONFIG=1");
}

#[test]
fn the_annotated_file_has_every_key_with_its_default() {
    assert_eq!(load_file(&annotated()).warnings, []);
    for (section, key) in every_key() {
        assert!(annotated().contains(&name_of(section, key)), "{}.{}", section.name, key.name);
    }
    let is_key =
        |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let uncomment = |line: &'static str| if is_key(line) { &line[1..] } else { line };
    let text: String =
        Box::leak(annotated().into_boxed_str()).lines().map(|line| format!("{}\n", uncomment(line))).collect();
    let text = text.replace("hmac_secret = \"\"", "");
    let config = load_file(&text).config;
    let defaults = Settings::defaults().draft().finish();
    assert_eq!(format!("{:?}", config.gateway), format!("{:?}", defaults.gateway));
    assert_eq!(options(&config, "NAME:x").unwrap().access.subscribe, Audience::Users);
    assert_eq!(options(&config, "x"), options(&defaults, "x"));
}

#[test]
fn memory_is_a_size_or_a_share() {
    let read = |text: &str| load_file(&format!("[limits]\nmemory_max = \"{text}\"\n"));
    for (text, max) in [("512MiB", Max::Bytes(512 << 20)), ("1%", Max::Percent(1)), ("100%", Max::Percent(100))] {
        assert_eq!(read(text).config.memory.max, max);
    }
    let line = |loaded: &Loaded, with_origins| {
        let lines = loaded.settings.to_toml_lines(with_origins);
        lines.into_iter().find(|line| line.starts_with("memory_max")).unwrap()
    };
    assert_eq!(line(&read("512MiB"), false), "memory_max = \"512MiB\"");
    let shown = line(&read("70%"), true);
    assert!(shown.contains("# fanfare.toml:2: ") && shown.contains(" MiB, 70% of "), "{shown}");
}
