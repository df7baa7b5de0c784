//! Every refusal word for word: the cases are here, what they print is in `refused.golden`.

use std::fmt::Write as _;

use super::schema::{self, Key};
use super::value::Kind;
use super::{Config, Flag, Source, Sources, Variables};

/// Files, each refused.
const FILES: &[&str] = &[
    // No TOML.
    "[listen\n",
    "[listen]\naddress = 0.0.0.0:8000\n",
    "[listen]\naddress = \"127.0.0.1:8000\"\naddress = \"127.0.0.1:8001\"\n",
    "[log]\nlevel = \"info\n[drain]\nwindow = 5 s\n",
    "[log]\nlevel = \"info\"\n[log]\nformat = \"json\"\n",
    // Unknown keys and sections.
    "[lisen]\naddress = \"127.0.0.1:8000\"\n",
    "[colours]\n",
    "[listen]\nadress = \"127.0.0.1:8000\"\n",
    "[listen]\nping_interval = \"25s\"\n",
    "[listen]\npong_timout = \"25s\"\n",
    "[log]\ncolour = \"red\"\n",
    "address = \"127.0.0.1:8000\"\n",
    "adress = \"127.0.0.1:8000\"\n",
    "colour = 5\n",
    "listen = \"127.0.0.1:8000\"\n",
    "[[listen]]\naddress = \"127.0.0.1:8000\"\n",
    "[listen.address]\nport = 8000\n",
    // Keys for tokens.
    "[auth.keys.main]\nalgorithm = \"ES512\"\nfile = \"a.pem\"\n",
    "[auth.keys.main]\nalgorithm = \"none\"\nfile = \"a.pem\"\n",
    "[auth.keys.main]\nalgoritm = \"RS256\"\nfile = \"a.pem\"\n",
    "[auth.keys.main]\nfile = \"a.pem\"\n",
    "[auth.keys.main]\nalgorithm = \"RS256\"\n",
    "[auth.keys.main]\nalgorithm = \"RS256\"\nsecret = \"hidden-hidden\"\n",
    "[auth.keys.main]\nalgorithm = \"HS256\"\nsecret = \"hidden-hidden\"\n",
    "[auth.keys.main]\nalgorithm = \"HS256\"\nsecret = \"hidden-hidden\"\nfile = \"a\"\n",
    "[auth.keys.main]\nalgorithm = \"HS256\"\nsecrt = \"hidden-hidden\"\nfile = \"a\"\n",
    "[auth.keys.main]\nalgorithm = \"HS256\"\nfile = \"a\"\naccept_until = \"soon\"\n",
    "[auth.keys.main]\nalgorithm = \"HS256\"\nfile = \"a\"\naccept_until = 2026-12-31T00:00:00\n",
    "[auth.keys.main]\nalgorithm = \"HS256\"\nfile = \"a\"\nuse = \"publish\"\n",
    "[auth.keys.\"a b\"]\nalgorithm = \"HS256\"\n",
    "[auth]\nkeys = [\"hidden\"]\n",
    "[auth.keys]\nmain = \"hidden\"\n",
    "[auth]\ntoken_lifetime_max = 0\n",
    // Issuers of tokens.
    "[auth.issuers.main]\nissuer = \"https://id.example.com\"\n",
    "[auth.issuers.main]\naudience = \"hub\"\n",
    "[auth.issuers.main]\naudience = \"hub\"\nissuer = \"shop\"\n",
    "[auth.issuers.main]\naudience = \"hub\"\nissuer = \"http://id.example.com\"\n",
    "[auth.issuers.main]\naudience = \"hub\"\nissuer = \"shop\"\njwks_url = \"http://id.example.com/keys\"\n",
    "[auth.issuers.main]\naudience = \"hub\"\nissuer = \"shop\"\njwks_url = \"https://a@id.example.com/keys\"\n",
    "[auth.issuers.main]\naudience = \"hub\"\nissuer = \"shop\"\njwks_uri = \"https://id.example.com/keys\"\n",
    "[auth.issuers.a]\naudience = \"hub\"\nissuer = \"https://id.example.com\"\n\
     [auth.issuers.b]\naudience = \"hub\"\nissuer = \"https://id.example.com\"\n",
    // Hooks.
    "[hooks.conect]\nurl = \"http://127.0.0.1:3000/\"\n",
    "[hooks.colours]\nurl = \"http://127.0.0.1:3000/\"\n",
    "[hooks]\nconnect = \"http://127.0.0.1:3000/\"\n",
    "[hooks.connect]\ntimeout = \"2s\"\n",
    "[hooks.connect]\nurl = \"app.example.com/connect\"\n",
    "[hooks.connect]\nurl = \"http://app.example.com/connect\"\n",
    "[hooks.connect]\nurl = \"https://a@app.example.com/connect\"\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\ntimeout = \"5s\"\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\nsecrets = [\"hidden-hidden-hidden-hidden-hidden\"]\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\nsecret = \"hidden-hidden-hidden-hidden-hidden\"\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\npass_headers = [\"cookie\", \"host\"]\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\npass_headers = [\"a b\"]\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\nheaders = [\"hidden\"]\n",
    "[hooks.connect]\nurl = \"http://127.0.0.1:3000/\"\nheaders = [\"Content-Length: 5\"]\n",
    "[channels]\npublish_hook = true\n",
    "[channels.namespaces.chat]\nsubscribe_hook = true\n[hooks.publish]\nurl = \"http://127.0.0.1:3000/\"\n",
    // Memory.
    "[limits]\nmemory_max = \"0%\"\n",
    "[limits]\nmemory_max = \"101%\"\n",
    "[limits]\nmemory_max = \"70.5%\"\n",
    "[limits]\nmemory_max = \"1MiB\"\n",
    "[limits]\nmemory_max = 70\n",
    "[limits]\nmemory_max = 0\n",
    "[limits]\nmemory_max = \"off\"\n",
    // Slow consumers.
    "[channels]\nslow_consumer = \"drop_oldest\"\n",
    "[channels]\nhistory_size = 0\n[channels.namespaces.live]\nslow_consumer = \"drop_oldest\"\n",
    "[channels]\nslow_consumer = \"drop-oldest\"\n",
    // Roles.
    "[access.roles.editor]\npublish = \"news:*\"\n",
    "[access.roles.editor]\npublish = [\"news:*\", \"news*\"]\n",
    "[access.roles.editor]\npublish = [\"**:news\"]\n",
    "[access.roles.editor]\npublish = [5]\n",
    "[access.roles.editor]\npublsh = [\"news:*\"]\n",
    "[access.roles.editor]\nhistory = [\"news:*\"]\n",
    "[acces.roles.editor]\npublish = [\"news:*\"]\n",
    // Durations.
    "[session]\nping_interval = 25\n",
    "[session]\nping_interval = \"25\"\n",
    "[session]\nping_interval = \"25x\"\n",
    "[session]\nping_interval = \"1h30m\"\n",
    "[session]\nping_interval = \"1.5s\"\n",
    "[session]\nping_interval = \"-5s\"\n",
    "[session]\nping_interval = \"\"\n",
    "[session]\nping_interval = \"soon\"\n",
    "[session]\nping_interval = \"2h\"\n",
    "[session]\nping_interval = \"99999999999999999999d\"\n",
    "[session]\nping_interval = 0\n",
    "[session]\nping_interval = \"0s\"\n",
    "[session]\nping_interval = 2.5\n",
    "[session]\nping_interval = 07:32:00\n",
    "[session]\nping_interval = true\n",
    "[session]\nping_interval = [\"25s\"]\n",
    "[session]\npong_timeout = 0\n",
    "[session]\npong_timeout = \"0s\"\n",
    "[session]\npong_timeout = \"off\"\n",
    // Sizes.
    "[limits]\noutbox_bytes_max = 1048576\n",
    "[limits]\noutbox_bytes_max = \"1MB\"\n",
    "[limits]\noutbox_bytes_max = \"1B\"\n",
    "[limits]\noutbox_bytes_max = \"0B\"\n",
    "[limits]\noutbox_bytes_max = \"off\"\n",
    // Counts.
    "[limits]\nsessions_max = 0\n",
    "[limits]\nsessions_max = -1\n",
    "[limits]\nsessions_max = 99999999999999999999\n",
    "[limits]\nsessions_max = \"1000\"\n",
    "[limits]\nsessions_max = \"off\"\n",
    "[limits]\nsessions_per_user_max = 0\n",
    "[node]\nshards = 65\n",
    "[node]\nshards = \"all\"\n",
    // Switches, texts and choices.
    "[auth]\nallow_anonymous = \"true\"\n",
    "[auth]\nallow_anonymous = 1\n",
    "[auth]\naudience = \"\"\n",
    "[auth]\naudience = [\"a\"]\n",
    "[node]\nname = \"a\\u0007b\"\n",
    "[log]\nformat = \"jason\"\n",
    "[log]\nlevel = \"loud\"\n",
    "[log]\nlevel = 3\n",
    // Addresses and origins.
    "[listen]\naddress = 8000\n",
    "[listen]\naddress = \":8000\"\n",
    "[listen]\naddress = \"localhost:8000\"\n",
    "[listen]\naddress = \"0.0.0.0\"\n",
    "[listen]\naddress = \"0.0.0.0:80000\"\n",
    "[listen]\nallowed_origins = \"https://a.example\"\n",
    "[listen]\nallowed_origins = [\"https://a.example\", \"b.example\"]\n",
    "[listen]\nallowed_origins = [\"https://a.example/\"]\n",
    "[listen]\nallowed_origins = [\"https://*.example\"]\n",
    "[listen]\nallowed_origins = [\"https://a.example:443\"]\n",
    "[listen]\nallowed_origins = [\"\"]\n",
    "[listen]\nallowed_origins = [7]\n",
    "[listen]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy.example\"]\n",
    "[listen]\ntrusted_proxies = [\"10.0.0.0/33\"]\n",
    "[listen]\ntrusted_proxies = [10]\n",
    "[limits]\nconnections_per_address_max = 0\n",
    // Secrets: masked, also under a mistyped name or in the wrong place.
    "[api]\nkeys = \"not-a-list-but-hidden\"\n",
    "[api]\nkeys = [\"hidden\"]\n",
    "[api]\nkeys = [\"0123456789abcdef\", \"0123456789abcdef\"]\n",
    "[api]\nkeys = [\"aaaaaaaaaaaaaaaaaaaaaaaa\"]\n",
    "[api]\nkeys = [\"0123456789abcdef hidden\"]\n",
    "[api]\nkeys = [\"\"]\n",
    "[api]\nkeys = [1234567890123456]\n",
    // Named keys of the API.
    "[api.named_keys]\nshop = \"hidden\"\n",
    "[api.named_keys]\nsecret = \"hidden\"\n[api.named_keys.shop]\n",
    "[api.named_keys.\"a b\"]\nsecret = \"hidden\"\n",
    "[api.named_keys.default]\nsecret = \"hidden-0123456789\"\n",
    "[api.named_keys.shop]\nsecret = \"hidden\"\n",
    "[api.named_keys.shop]\nsecret = [\"hidden-0123456789\"]\n",
    "[api.named_keys.shop]\nsecert = \"hidden-0123456789\"\n",
    "[api.named_keys.shop]\nprevious = \"hidden 0123456789\"\n",
    "[api.named_keys.shop]\nscopes = \"publish\"\n",
    "[api.named_keys.shop]\nscopes = [\"read\", \"publsh\"]\n",
    "[api.named_keys.shop]\nscopes = [1]\n",
    "[api.named_keys.shop]\nchannels = \"news\"\n",
    "[api.named_keys.shop]\nchannels = [\"news\", \"news*\"]\n",
    "[api.named_keys.shop]\nchannels = [\"**:news\"]\n",
    "[api.named_keys.shop]\nchannels = [\"news:*\", \"box:{user}\"]\n",
    "[api.named_keys.shop]\nchannels = [\"\"]\n",
    "[api.named_keys.shop]\nsecret = \"hidden-0123456789\"\nprevious = \"hidden-0123456789\"\n",
    "[api]\nkeys = [\"hidden-0123456789\"]\n[api.named_keys.shop]\nsecret = \"hidden-0123456789\"\n",
    "[api.named_keys.a-b]\n[api.named_keys.a_b]\n",
    "[auth.keys.a-b]\nalgorithm = \"ES256\"\nfile = \"key.pem\"\n[auth.keys.a_b]\nalgorithm = \"ES256\"\nfile = \"key.pem\"\n",
    "[auth]\nhmac_secret = \"hidden\"\n",
    "[auth]\nhmac_secret = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n",
    "[auth]\nhmac_secret = \"\"\n",
    "[auth]\nhmac_secret = 1234567890\n",
    "[auth]\nhmac_secert = \"hidden\"\n",
    "[listen]\nhmac_secret = \"hidden\"\n",
    "auth = { hmac_secret = \"hidden\", allow_anonymous = 1 }\n",
    "[auth]\nhmac_secret = \"hidden\n",
    "[auth]\nhmac_secret = hidden\n",
    // Channels.
    "[channels]\nsubscribe = \"subscribers\"\n",
    "[channels]\nsubscribe = true\n",
    "[channels]\npublish = \"user\"\n",
    "[channels]\npublish = \"everybody\"\n",
    "[channels]\nhistory_size = -1\n",
    "[channels]\nhistory_ttl = \"7d\"\n",
    "[channels]\nnamespaces = 5\n",
    "[channels.namespaces]\nhistory_size = 5\n",
    "[channels.namespaces.\"a:b\"]\n",
    "[channels.namespaces.news]\nhistroy_size = 5\n",
    "[channels.namespaces.news]\nhistory_ttl = 300\n",
    "[channels.namespaces.news]\nhistory_meta_ttl = \"1m\"\n",
    "[channels.namespaces.\"news.eu\"]\npublish = \"all\"\n",
    "[session]\npersonal_channel = \"news:#\"\n",
    "[session]\npersonal_channel = \"news\"\n",
    // Keys that do not go together.
    "[session]\nping_interval = \"8s\"\n",
    "[session]\npong_timeout = \"5s\"\n",
    "[session]\nping_interval = \"20s\"\npong_timeout = \"30s\"\n",
    "[limits]\npayload_bytes_max = \"1MiB\"\n",
    "[limits]\nring_bytes_max = \"64KiB\"\n",
    "[broker]\nhistory_bytes_max = \"1MiB\"\n[limits]\npayload_bytes_max = \"768KiB\"\n[api]\nbody_bytes_max = \"2MiB\"\n",
    "[api]\nbody_bytes_max = \"32KiB\"\n",
    // Redis, without a word of what may be a password.
    "[redis]\nurl = \"127.0.0.1:6379\"\n",
    "[redis]\nurl = \"redis+sentinel://:hunter2@127.0.0.1\"\n",
    "[redis]\nurl = \"redis+cluster://:hunter2@127.0.0.1/3\"\n",
    "[redis]\nurl = 6379\nprefix = \"\"\n",
    "[redis]\nprefix = \"{a}\"\ntls_key_file = \"key.pem\"\n",
    // Several at once, in the order of the file.
    "[session]\nping_interval = 25\n\n[listen]\nadress = \"x\"\n\n[log]\nlevel = \"inf\"\n",
    // Letters of several bytes, tabs, Windows line ends.
    "[node]\r\nname = \"größe\"\r\n\tshards = \"größe\"\r\n",
];

/// Variables, each refused.
const VARIABLES: &[(&str, &str)] = &[
    ("FANFARE_LISTEN__ADRESS", "127.0.0.1:8000"),
    ("FANFARE_LISTEN_ADDRESS", "127.0.0.1:8000"),
    ("FANFARE_COLOUR", "red"),
    ("FANFARE_SERVR", "127.0.0.1:8000"),
    ("FANFARE_CHANNELS__NAMESPACES__NEWS__PUBLISH", "users"),
    ("FANFARE_LISTEN__ADDRESS", "8000"),
    ("FANFARE_LISTEN__ADDRESS_FILE", "/etc/address"),
    ("FANFARE_LISTEN__ALLOWED_ORIGINS", "https://a.example, b.example"),
    ("FANFARE_SESSION__PING_INTERVAL", "25"),
    ("FANFARE_SESSION__PING_INTERVAL", "0"),
    ("FANFARE_SESSION__PING_INTERVAL", "5s"),
    ("FANFARE_LIMITS__SESSIONS_MAX", "many"),
    ("FANFARE_AUTH__ALLOW_ANONYMOUS", "yes"),
    ("FANFARE_API__KEYS", "0123456789abcdef,hidden"),
    ("FANFARE_AUTH__HMAC_SECRET", "hidden"),
    ("FANFARE_API__NAMED_KEYS__SHOP__SECRET", "hidden-0123456789"),
    ("FANFARE_AUTH__HMAC_SECRET_FILE", "/nowhere/at/all"),
];

/// Flags, each refused.
fn flags() -> Vec<Flag> {
    let flag = |name, key, value: &str| Flag { name, key, value: value.to_owned() };
    vec![
        flag("--listen", "listen.address", "8000"),
        flag("--log-format", "log.format", "jsno"),
        flag("--log-level", "log.level", ""),
    ]
}

fn refusal(sources: Sources) -> String {
    match Config::load_partial(sources) {
        Ok(_) => "NOT REFUSED".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

fn file(text: &str) -> Sources {
    Sources { file: Some(Source::from_text("fanfare.toml", text.to_owned())), ..Sources::default() }
}

fn variables(pairs: &[(&str, &str)]) -> Sources {
    Sources { variables: pairs.iter().copied().collect::<Variables>(), ..Sources::default() }
}

fn all_refusals() -> String {
    let mut text = String::new();
    let mut add = |case: &str, refusal: &str| {
        let _ = writeln!(text, "----- {case}\n{refusal}\n");
    };
    for case in FILES {
        add(&format!("file {case:?}"), &refusal(file(case)));
    }
    for (name, value) in VARIABLES {
        add(&format!("variable {name}={value:?}"), &refusal(variables(&[(name, value)])));
    }
    for flag in flags() {
        let case = format!("flag {} {:?}", flag.name, flag.value);
        add(&case, &refusal(Sources { flags: vec![flag], ..Sources::default() }));
    }
    text
}

#[test]
fn refusals_are_worded_as_agreed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/refused.golden");
    let found = all_refusals();
    assert!(!found.contains("NOT REFUSED"), "{found}");
    if std::env::var_os("FANFARE_UPDATE_CONFIG").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(found == golden, "run with FANFARE_UPDATE_CONFIG=1 and look at the difference; found:\n{found}");
}

#[test]
fn a_refusal_shows_no_secret() {
    for text in FILES.iter().filter(|text| text.contains("hidden")) {
        let refusal = refusal(file(text));
        assert!(!refusal.contains("hidden"), "{refusal}");
    }
    for (name, value) in VARIABLES.iter().filter(|(_, value)| value.contains("hidden")) {
        let refusal = refusal(variables(&[(name, value)]));
        assert!(!refusal.contains("hidden"), "{refusal}");
    }
}

#[test]
fn a_secret_is_hidden_wherever_the_text_breaks() {
    let whole = "[auth]\nhmac_secret = \"hidden-hidden=\"\n[api]\nkeys = [\n  \"hidden=hidden\",\n  \"hidden\" ]\n[log]\nlevel = 3\n";
    for at in 0..=whole.len() {
        for broken in ["", "\"", "[", "]", "=", "\n", "\u{1}"] {
            let text = format!("{}{broken}{}", &whole[..at], &whole[at..]);
            // A break within the word leaves parts of it.
            let refusal = refusal(file(&text));
            assert!(!refusal.contains("hidden"), "{text}\n{refusal}");
        }
    }
}

fn ill_typed(key: &Key) -> &'static str {
    match key.kind {
        Kind::Bool => "\"perhaps\"",
        _ => "false",
    }
}

#[test]
fn every_key_refuses_another_type() {
    for section in schema::SECTIONS {
        for key in section.keys {
            let text = format!("[{}]\n{} = {}\n", section.name, key.name, ill_typed(key));
            let start = format!("fanfare.toml:2:{}: {}.{} is ", key.name.len() + 4, section.name, key.name);
            let refusal = refusal(file(&text));
            assert!(refusal.starts_with(&start), "{refusal}");
        }
    }
}

#[test]
fn no_number_means_no_limit() {
    for section in schema::SECTIONS {
        for key in
            section.keys.iter().filter(|key| matches!(key.kind, Kind::Duration(..) | Kind::Size(..) | Kind::Memory(_)))
        {
            let refusal = refusal(file(&format!("[{}]\n{} = 0\n", section.name, key.name)));
            assert!(refusal.contains("0 never means \"no limit\""), "{refusal}");
        }
    }
}

#[test]
fn what_serve_needs_is_named_together() {
    let problems = |sources| Config::load(sources).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        problems(Sources::default()),
        "api.keys is not set: no backend could publish\n  \
         = hint: `fanfare init` writes a file with new secrets for --config, or set FANFARE_API__KEYS or \
         FANFARE_API__KEYS_FILE\n\n\
         auth.hmac_secret is not set: no client could connect, unless auth.allow_anonymous = true\n  \
         = hint: `fanfare init` writes a file with new secrets for --config, or set FANFARE_AUTH__HMAC_SECRET or \
         FANFARE_AUTH__HMAC_SECRET_FILE"
    );
    assert_eq!(
        problems(file("[auth]\nallow_anonymous = true\n")),
        "api.keys is not set: no backend could publish\n  \
         = hint: write it under [api] in fanfare.toml, or set FANFARE_API__KEYS or FANFARE_API__KEYS_FILE"
    );
}

#[test]
fn what_a_named_key_lacks_is_named() {
    let text = "[auth]\nallow_anonymous = true\n[api.named_keys.shop-eu]\n";
    let problems = Config::load(file(text)).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        problems,
        "api.named_keys.shop-eu.secret is not set\n  \
         = hint: write it under [api.named_keys.shop-eu], or set FANFARE_API__NAMED_KEYS__SHOP_EU__SECRET or \
         FANFARE_API__NAMED_KEYS__SHOP_EU__SECRET_FILE, or give the credential api.named_keys.shop-eu.secret\n\n\
         api.named_keys.shop-eu.scopes is not set\n  \
         = hint: without one it may do nothing; write a list of \"publish\", \"read\", \"control\" or \"admin\"\n\n\
         api.named_keys.shop-eu.channels is not set\n  \
         = hint: write channels = [\"**\"] for all, or channels = [] for none"
    );
}

#[test]
fn a_named_key_of_which_a_variable_cannot_know_has_its_table_in_the_file() {
    let name = "FANFARE_API__NAMED_KEYS__SHOP__SCOPES";
    let sources = Sources {
        variables: [(name, "publish")].into_iter().collect(),
        ..file("[api.named_keys.shop]\nsecret = \"0123456789abcdef\"\n")
    };
    assert!(refusal(sources).contains("[api.named_keys.NAME] stands in the configuration file"));
}

#[test]
fn a_credential_that_does_not_fit_is_named_and_not_shown() {
    let folder = std::env::temp_dir().join(format!("fanfare-credential-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("redis.url")).unwrap();
    std::fs::write(folder.join("api.keys"), "hidden\n").unwrap();
    let refusal = refusal(variables(&[("CREDENTIALS_DIRECTORY", &folder.display().to_string())]));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(refusal.contains("credential api.keys: api.keys holds a secret of 6 bytes, 16 are needed"), "{refusal}");
    assert!(refusal.contains("credential redis.url: cannot read "), "{refusal}");
    assert!(!refusal.contains("hidden"), "{refusal}");
}

#[test]
fn a_key_that_is_refused_is_not_called_missing_too() {
    let problems = Config::load(file("[api]\nkeys = [\"short\"]\n[auth]\nhmac_secret = 5\n")).map(|_| ()).unwrap_err();
    assert_eq!(problems.iter().count(), 2, "{problems}");
}

#[test]
fn a_variable_and_its_file_are_not_both_taken() {
    let name = "FANFARE_AUTH__HMAC_SECRET";
    let both = [(name, "0123456789abcdef0123456789abcdef"), ("FANFARE_AUTH__HMAC_SECRET_FILE", "/etc/secret")];
    assert_eq!(
        refusal(variables(&both)),
        "environment FANFARE_AUTH__HMAC_SECRET_FILE: FANFARE_AUTH__HMAC_SECRET is set too\n  = hint: set one of the two"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = std::env::temp_dir().join(format!("fanfare-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("fanfare.toml");
    let name = path.display().to_string();
    let refusal = |path: &std::path::Path| Source::read(path).unwrap_err().to_string();
    assert_eq!(
        refusal(&path),
        format!(
            "cannot read {name}: No such file or directory (os error 2)\n  \
             = hint: `fanfare init {name}` writes one with every key explained"
        )
    );
    assert!(refusal(&folder).starts_with("cannot read "));
    std::fs::write(&path, b"[log]\nlevel = \"\xff\"\n").unwrap();
    assert_eq!(refusal(&path), format!("{name}:2:10: the file is not UTF-8\n  = hint: save it as UTF-8"));
    std::fs::write(&path, vec![b'#'; (4 << 20) + 1]).unwrap();
    assert_eq!(refusal(&path), format!("{name} is larger than 4194304 bytes: no configuration"));
    std::fs::remove_dir_all(&folder).unwrap();
}
