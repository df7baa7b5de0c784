//! Every key of the configuration: what it takes, its default, its comment, and where its value goes.
//!
//! The one list from which files and variables are read, refusals are worded and the annotated file is written.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_auth::{Operation, Rules};
use fanfare_broker::namespaces::Audience;

use crate::network::Network;

use super::draft::{ApiKeyDraft, ChannelDraft, Draft, TokenIssuerDraft, TokenKeyDraft};
use super::value::{Kind, Value};

/// A table of the file.
pub(crate) struct Section {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) doc: &'static str,
    /// Its keys, in the order they are shown in.
    pub(crate) keys: &'static [Key],
}

/// A key of a section.
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What may stand in place of a value: `off`, `auto`.
    pub(crate) word: Option<&'static str>,
    /// The default as TOML; empty: not set.
    pub(crate) default: &'static str,
    /// What it does, in whole sentences.
    pub(crate) doc: &'static str,
    /// Where its value goes.
    pub(crate) put: Put,
}

/// Where a value goes.
#[derive(Clone, Copy)]
pub(crate) enum Put {
    /// Into the node's settings.
    Node(fn(&mut Draft, &Value)),
    /// Into the options of channels, of one namespace or of none.
    Channel(fn(&mut ChannelDraft, &Value)),
    /// Into a named key of the API.
    ApiKey(fn(&mut ApiKeyDraft, &Value)),
    /// Into a key for tokens.
    TokenKey(fn(&mut TokenKeyDraft, &Value)),
    /// Into the rules of a role.
    Role(fn(&mut Rules, &Value)),
    /// Into an issuer of tokens.
    TokenIssuer(fn(&mut TokenIssuerDraft, &Value)),
}

/// Name of the section whose keys every namespace takes too.
pub(crate) const CHANNELS: &str = "channels";

/// Name of the table of namespaces in it.
pub(crate) const NAMESPACES: &str = "namespaces";

/// The shortest API key that is taken: 64 bits and more, however it is written.
pub(crate) const API_KEY_BYTES_MIN: usize = 16;

/// The longest name of a namespace.
pub(crate) const NAMESPACE_BYTES_MAX: usize = 64;

/// The largest rate: ten seconds' worth of thousandths fit into 32 bits.
const RATE_MAX: usize = 400_000;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

const EVERYBODY: &[Audience] = &[Audience::Nobody, Audience::Users, Audience::Subscribers, Audience::Anyone];
const SUBSCRIBING: &[Audience] = &[Audience::Nobody, Audience::Users, Audience::Anyone];

/// All sections, in the order they are shown in.
pub(crate) static SECTIONS: &[Section] =
    &[LISTEN, API, AUTH, CHANNEL_OPTIONS, ACCESS, SESSION, LIMITS, BROKER, REDIS, NODE, LOG, DRAIN];

/// Tables of which there are as many as somebody writes, each with a name of its own: `[auth.keys.NAME]`. They stand
/// in the file only; secrets of tables that are there may come from elsewhere.
pub(crate) static FAMILIES: &[Section] = &[API_KEYS, TOKEN_KEYS, TOKEN_ISSUERS, ROLES];

/// Name of the family of keys for tokens.
pub(crate) const TOKEN_KEY_FAMILY: &str = "auth.keys";

/// Name of the family of issuers whose keys are fetched.
pub(crate) const TOKEN_ISSUER_FAMILY: &str = "auth.issuers";

/// Name of the family of roles.
pub(crate) const ROLE_FAMILY: &str = "access.roles";

/// The family of this name.
pub(crate) fn family(name: &str) -> Option<&'static Section> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// Name of the family of named keys of the API.
pub(crate) const API_KEY_FAMILY: &str = "api.named_keys";

/// Named keys of the API. Each request is compared with all of them: 128 times 64 bytes take some microseconds.
pub(crate) const API_KEYS_MAX: usize = 64;

/// Patterns of one of them. A broadcast to 10,000 channels compares each with all: 64 times 10,000 names of 30 bytes
/// take some 20 ms.
const API_KEY_PATTERNS_MAX: usize = 64;

/// The section of this name.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    /// Its key of this name.
    pub(crate) fn key(&'static self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether some of its keys are secrets.
    pub(crate) fn has_secrets(&self) -> bool {
        self.keys.iter().any(|key| key.kind.is_secret())
    }
}

/// The keys that `[channels]` and every namespace take.
pub(crate) fn channel_options() -> &'static Section {
    section(CHANNELS).expect("it is in the list")
}

/// Whether a name can be a namespace: letters, digits, `-`, `_` and `.`.
pub(crate) fn is_namespace_name(name: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= NAMESPACE_BYTES_MAX && name.chars().all(in_name)
}

fn rate(value: &Value) -> Option<u32> {
    value.number_or_word().map(|per_second| u32::try_from(per_second).unwrap_or(u32::MAX))
}

fn networks(value: &Value) -> Vec<Network> {
    value.list().iter().filter_map(|text| Network::parse(text)).collect()
}

/// Whether a name can be that of a table of a family. Roles have the names that somebody else gave them: a scope of
/// OAuth2 may be `news:write`.
pub(crate) fn is_member_name(family: &Section, name: &str) -> bool {
    if family.name != ROLE_FAMILY {
        return is_namespace_name(name);
    }
    let in_name = |c: char| c.is_ascii_graphic() && !"\"\\".contains(c);
    !name.is_empty() && name.len() <= NAMESPACE_BYTES_MAX && name.chars().all(in_name)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(min: u64, max: u64) -> Kind {
    Kind::Duration(Duration::from_secs(min), Duration::from_secs(max))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn node(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    put: fn(&mut Draft, &Value),
) -> Key {
    Key { name, kind, word: None, default, doc, put: Put::Node(put) }
}

const fn channel(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    put: fn(&mut ChannelDraft, &Value),
) -> Key {
    Key { name, kind, word: None, default, doc, put: Put::Channel(put) }
}

const fn api_key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    put: fn(&mut ApiKeyDraft, &Value),
) -> Key {
    Key { name, kind, word: None, default, doc, put: Put::ApiKey(put) }
}

const fn token_key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    put: fn(&mut TokenKeyDraft, &Value),
) -> Key {
    Key { name, kind, word: None, default, doc, put: Put::TokenKey(put) }
}

const fn token_issuer(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    put: fn(&mut TokenIssuerDraft, &Value),
) -> Key {
    Key { name, kind, word: None, default, doc, put: Put::TokenIssuer(put) }
}

const fn role(name: &'static str, doc: &'static str, put: fn(&mut Rules, &Value)) -> Key {
    Key { name, kind: Kind::Patterns, word: None, default: "[]", doc, put: Put::Role(put) }
}

impl Key {
    const fn or(self, word: &'static str) -> Self {
        Self { word: Some(word), ..self }
    }
}

const LISTEN: Section = Section {
    name: "listen",
    doc: "Where the node takes connections, of browsers, backends and the command line alike.",
    keys: &[
        node(
            "address",
            Kind::Address,
            r#""127.0.0.1:8000""#,
            "Address to listen on. The default is reached from this machine only, for a proxy that does TLS in \
             front; \"0.0.0.0:8000\" listens on every address. Port 0 takes any free port.",
            |draft, value| draft.address = value.address(),
        ),
        node(
            "tls_cert_file",
            Kind::Text(4096),
            r#""off""#,
            "The certificate to speak TLS with, as PEM, with its chain behind it. With it nothing but TLS is spoken on \
             this port. A changed file is taken within half a minute; connections that are there go on.",
            |draft, value| draft.tls_cert_file = value.text().map(PathBuf::from),
        )
        .or("off"),
        node("tls_key_file", Kind::Text(4096), r#""off""#, "The key of that certificate, as PEM.", |draft, value| {
            draft.tls_key_file = value.text().map(PathBuf::from)
        })
        .or("off"),
        node(
            "tls_handshake_timeout",
            seconds(1, 5 * MINUTE),
            r#""10s""#,
            "Time for a TLS handshake; then the connection is closed.",
            |draft, value| draft.tls_handshake_timeout = value.duration(),
        ),
        node(
            "allowed_origins",
            Kind::Origins,
            "[]",
            "Origins of web pages that may connect, besides those that the node's own host served. In \
             \"https://*.example.com\" the star is one label, so neither example.com nor a.b.example.com. Programs \
             that are no browsers send no origin and are always let in. [\"*\"] lets any page connect.",
            |draft, value| draft.allowed_origins = value.list(),
        ),
        node(
            "allowed_hosts",
            Kind::Hosts,
            "[]",
            "Names that requests may be for, as they stand in Host without the port; others get 421. Name what health \
             checks and scrapers use, too. Without any, all are taken.",
            |draft, value| draft.allowed_hosts = value.list(),
        ),
        node(
            "header_timeout",
            seconds(1, 5 * MINUTE),
            r#""10s""#,
            "Time to send the headers of a request; then the connection is closed.",
            |draft, value| draft.header_timeout = value.duration(),
        ),
        node(
            "trusted_proxies",
            Kind::Networks,
            "[]",
            "Addresses of proxies in front of the node. From these alone X-Forwarded-For is believed: limits by \
             address then hold for the client that it names, counted from the right.",
            |draft, value| draft.arrivals.trusted_proxies = networks(value),
        ),
    ],
};

const API: Section = Section {
    name: "api",
    doc: "The HTTP API that backends publish with.",
    keys: &[
        node(
            "keys",
            Kind::Secrets(API_KEY_BYTES_MIN),
            "[]",
            "Keys of the API that may do everything. `serve` does not start without one, unless there is a key in \
             [api.named_keys.NAME]. With several, each is good: put a new one beside the old, move the backends, take \
             the old one out.",
            |draft, value| draft.api_keys = value.secrets(),
        ),
        node(
            "body_bytes_max",
            Kind::Size(KIB, GIB),
            r#""1MiB""#,
            "Largest body of a request; a larger one gets 413. At least limits.payload_bytes_max.",
            |draft, value| draft.body_bytes_max = value.number(),
        ),
        node(
            "body_timeout",
            seconds(1, 5 * MINUTE),
            r#""10s""#,
            "Time to send the body of a request; then it gets 408.",
            |draft, value| draft.body_timeout = value.duration(),
        ),
        node(
            "batch_commands_max",
            Kind::Count(1, 1_000_000),
            "1000",
            "Commands in one batch; a batch with more is refused.",
            |draft, value| draft.batch_commands_max = value.number(),
        ),
        node(
            "broadcast_channels_max",
            Kind::Count(1, 1_000_000),
            "10000",
            "Channels in one broadcast; a broadcast to more is refused.",
            |draft, value| draft.broadcast_channels_max = value.number(),
        ),
    ],
};

const API_KEYS: Section = Section {
    name: API_KEY_FAMILY,
    doc: "A key of the API that may do some things in some channels, under the name of whoever shows it; 64 at most. \
          Its secrets may also come from FANFARE_API__NAMED_KEYS__NAME__SECRET and …__PREVIOUS, with _FILE from \
          files, or from the credentials api.named_keys.NAME.secret and ….previous.",
    keys: &[
        api_key("secret", Kind::HeaderSecret(API_KEY_BYTES_MIN), "", "The key itself.", |draft, value| {
            draft.secret = value.secret()
        }),
        api_key(
            "previous",
            Kind::HeaderSecret(API_KEY_BYTES_MIN),
            "",
            "The one before it, as good as the other. To change a key write the old one here and the new one above, \
             move the backends, take this out.",
            |draft, value| draft.previous = value.secret(),
        ),
        api_key(
            "scopes",
            Kind::Words(fanfare_api::Scope::NAMES),
            "[]",
            "What it may do. \"publish\": publish and broadcast. \"read\": history, presence and channels. \
             \"control\": subscribe, unsubscribe, disconnect and refresh. \"admin\": history_remove and info.",
            |draft, value| draft.scopes = value.list(),
        ),
        api_key(
            "channels",
            Kind::KeyPatterns(API_KEY_PATTERNS_MAX),
            "[]",
            "Where it may do that. Between colons \"*\" is any one segment, and \"**\" at the end the rest; neither \
             is for a private channel, whose \"$\" has to be written: \"$news:*\". [\"**\"] is every channel, private \
             ones too, which disconnect and refresh need.",
            |draft, value| draft.channels = value.list(),
        ),
    ],
};

const AUTH: Section = Section {
    name: "auth",
    doc: "Who clients are: tokens (JWT) that your backend signs, with a library of any language.",
    keys: &[
        node(
            "hmac_secret",
            Kind::Secret,
            "",
            "Secret that tokens are signed with (HS256), 32 bytes at least. `serve` does not start without it, \
             unless there is a key in [auth.keys.NAME], an issuer in [auth.issuers.NAME], or auth.allow_anonymous is true.",
            |draft, value| draft.auth.hmac_secret = value.secret(),
        ),
        node(
            "allow_short_secret",
            Kind::Bool,
            "false",
            "Take a secret that is shorter, or easily guessed. For trying things out: whoever guesses it can be \
             any user.",
            |draft, value| draft.auth.allow_short_secret = value.is_on(),
        ),
        node(
            "allow_anonymous",
            Kind::Bool,
            "false",
            "Let clients in without a token, as the anonymous user. They may do what is open to \"anyone\".",
            |draft, value| draft.gateway.allow_anonymous = value.is_on(),
        ),
        node(
            "audience",
            Kind::Text(1024),
            r#""off""#,
            "Audience (claim `aud`) that tokens must name. \"off\" does not look at it.",
            |draft, value| draft.auth.audience = value.text(),
        )
        .or("off"),
        node(
            "issuer",
            Kind::Text(1024),
            r#""off""#,
            "Issuer (claim `iss`) that tokens must name. \"off\" does not look at it.",
            |draft, value| draft.auth.issuer = value.text(),
        )
        .or("off"),
        node(
            "token_lifetime_max",
            seconds(1, 3650 * DAY),
            r#""off""#,
            "How long a token may live, from `iat` to `exp`. With a limit, tokens without either are refused, and the \
             revocation of tokens is forgotten when it has passed. \"off\" takes any.",
            |draft, value| draft.auth.lifetime_max = value.duration_or_off(),
        )
        .or("off"),
    ],
};

const TOKEN_KEYS: Section = Section {
    name: TOKEN_KEY_FAMILY,
    doc: "A further key for tokens, under any name; 16 at most. A token is good if one of the keys vouches for it. To \
          change a key, add the new one under a new name and give the old one an end date.",
    keys: &[
        token_key(
            "algorithm",
            Kind::Choice(fanfare_auth::Algorithm::NAMES),
            "",
            "The one algorithm that this key is for, whatever a token says.",
            |draft, value| draft.algorithm = value.text().as_deref().and_then(fanfare_auth::Algorithm::named),
        ),
        token_key(
            "secret",
            Kind::Secret,
            "",
            "The secret of HS256, HS384 or HS512: at least 32, 48 or 64 bytes. It may also come from \
             FANFARE_AUTH__KEYS__NAME__SECRET, with _FILE from the file it names, NAME in capitals with _ for - and .",
            |draft, value| draft.secret = value.secret(),
        ),
        token_key(
            "file",
            Kind::Text(4096),
            "",
            "The file that holds the key: the public key as PEM, or the secret of HS256, HS384 or HS512.",
            |draft, value| draft.file = value.text().map(PathBuf::from),
        ),
        token_key(
            "kid",
            Kind::Text(256),
            r#""off""#,
            "Key id (header `kid`) that tokens must name to be judged by this key. \"off\" does not look at it.",
            |draft, value| draft.key_id = value.text(),
        )
        .or("off"),
        token_key(
            "accept_until",
            Kind::Date,
            r#""off""#,
            "From when on the key is not used any more.",
            |draft, value| draft.accept_until = value.date(),
        )
        .or("off"),
        token_key(
            "use",
            Kind::Choice(&["both", "connections", "subscriptions"]),
            r#""both""#,
            "Which tokens it is for.",
            |draft, value| draft.uses = value.text().unwrap_or_default(),
        ),
    ],
};

const TOKEN_ISSUERS: Section = Section {
    name: TOKEN_ISSUER_FAMILY,
    doc: "An issuer whose public keys are fetched, under any name: an OAuth2 or OpenID Connect provider. Its tokens are \
          judged by its keys alone, and need `exp` and `aud`.",
    keys: &[
        token_issuer(
            "issuer",
            Kind::Text(1024),
            "",
            "What its tokens say in `iss`, to the letter. Without jwks_url its keys are found by the discovery document \
             below this URL.",
            |draft, value| draft.issuer = value.text(),
        ),
        token_issuer(
            "audience",
            Kind::Text(1024),
            "",
            "What its tokens have to name in `aud`: tokens that it makes for other applications are no good here.",
            |draft, value| draft.audience = value.text(),
        ),
        token_issuer(
            "jwks_url",
            Kind::HttpsUrl,
            r#""off""#,
            "Where its keys are (JWKS). \"off\" asks the discovery document.",
            |draft, value| draft.jwks_url = value.text(),
        )
        .or("off"),
        token_issuer(
            "ca_file",
            Kind::Text(4096),
            r#""off""#,
            "Certificates to trust when fetching, as PEM. \"off\" trusts those that the machine trusts.",
            |draft, value| draft.ca_file = value.text().map(PathBuf::from),
        )
        .or("off"),
        token_issuer(
            "use",
            Kind::Choice(&["both", "connections", "subscriptions"]),
            r#""both""#,
            "Which tokens its keys are for.",
            |draft, value| draft.uses = value.text().unwrap_or_default(),
        ),
        token_issuer(
            "refresh_interval",
            seconds(60, 7 * DAY),
            r#""1h""#,
            "How often its keys are fetched again. A key id that is not known is asked for at once, twice a minute at \
             most.",
            |draft, value| draft.refresh_interval = value.duration(),
        ),
        token_issuer(
            "stale_ttl",
            seconds(60, 30 * DAY),
            r#""1d""#,
            "How long its keys are used when they cannot be fetched again.",
            |draft, value| draft.stale_ttl = value.duration(),
        ),
    ],
};

const CHANNEL_OPTIONS: Section = Section {
    name: CHANNELS,
    doc: "Channels whose name has no namespace. What is open to \"nobody\" can still be reached with a \
          subscription token, or by the users that a name lists after its '#'.",
    keys: &[
        channel(
            "history_size",
            Kind::Count(0, 1_000_000),
            "100",
            "Publications kept for each channel, so that clients can read them and catch up after a cut. 0 keeps \
             none, and there is no catching up.",
            |draft, value| draft.history_size = value.number(),
        ),
        channel("history_ttl", seconds(1, 365 * DAY), r#""5m""#, "How long each of them is kept.", |draft, value| {
            draft.history_ttl = value.duration()
        }),
        channel(
            "history_meta_ttl",
            seconds(1, 3650 * DAY),
            r#""1d""#,
            "How long a channel's position outlives its last publication. A client that comes back later than \
             that is told that it may have missed something. At least history_ttl.",
            |draft, value| draft.history_meta_ttl = value.duration(),
        ),
        channel("presence", Kind::Bool, "false", "Keep who is subscribed to each channel.", |draft, value| {
            draft.presence = value.is_on();
        }),
        channel(
            "join_leave",
            Kind::Bool,
            "false",
            "Tell the subscribers of a channel who joins and leaves. With N subscribers that is N times N messages.",
            |draft, value| draft.join_leave = value.is_on(),
        ),
        channel(
            "subscribe",
            Kind::Audience(SUBSCRIBING),
            r#""nobody""#,
            "Who may subscribe without a subscription token: \"users\" are those whose connection token names them.",
            |draft, value| draft.access.subscribe = value.audience(),
        ),
        channel(
            "publish",
            Kind::Audience(EVERYBODY),
            r#""nobody""#,
            "Which clients may publish. Backends always may.",
            |draft, value| draft.access.publish = value.audience(),
        ),
        channel(
            "read_history",
            Kind::Audience(EVERYBODY),
            r#""nobody""#,
            "Which clients may read the history. Catching up after a cut needs no leave.",
            |draft, value| draft.access.read_history = value.audience(),
        ),
        channel(
            "read_presence",
            Kind::Audience(EVERYBODY),
            r#""nobody""#,
            "Which clients may ask who is present.",
            |draft, value| draft.access.read_presence = value.audience(),
        ),
    ],
};

const ACCESS: Section = Section {
    name: "access",
    doc: "What users may do by their roles, beside what the tables of channels open. Rights only add up; nothing here \
          takes any back.",
    keys: &[node(
        "roles_claim",
        Kind::Text(256),
        r#""roles""#,
        "The claim of connection tokens that names the user's roles: its name, or a path such as \
         \"realm_access.roles\". A list of texts, or one text with blanks between them. \"off\" looks at none.",
        |draft, value| draft.auth.roles.claim = value.text(),
    )
    .or("off")],
};

const ROLES: Section = Section {
    name: ROLE_FAMILY,
    doc: "What a role may do, with patterns of channel names: segments are separated by \":\"; \"*\" is one segment, \
          \"**\" at the end is the rest, \"{user}\" is a segment that is the user's id.",
    keys: &[
        role("subscribe", "Channels to subscribe to without a subscription token.", |rules, value| {
            rules.allow(Operation::Subscribe, value.patterns());
        }),
        role("publish", "Channels to publish to.", |rules, value| {
            rules.allow(Operation::Publish, value.patterns());
        }),
        role("read_history", "Channels whose history may be read.", |rules, value| {
            rules.allow(Operation::ReadHistory, value.patterns());
        }),
        role("read_presence", "Channels whose presence may be read.", |rules, value| {
            rules.allow(Operation::ReadPresence, value.patterns());
        }),
    ],
};

const SESSION: Section = Section {
    name: "session",
    doc: "What one client's connection lives by.",
    keys: &[
        node(
            "connect_timeout",
            seconds(1, HOUR),
            r#""10s""#,
            "Time to send the command `connect`; then the connection is closed with 3502.",
            |draft, value| draft.gateway.connect_timeout = value.duration(),
        ),
        node(
            "ping_interval",
            seconds(1, HOUR),
            r#""25s""#,
            "Time between two pings. \"off\" sends none: dead connections then stay until a write to them fails.",
            |draft, value| draft.gateway.ping_interval = value.duration_or_off(),
        )
        .or("off"),
        node(
            "pong_timeout",
            Kind::Duration(millis(100), Duration::from_secs(HOUR)),
            r#""8s""#,
            "Time to answer a ping; then the connection is closed with 3012. Shorter than session.ping_interval.",
            |draft, value| draft.gateway.pong_timeout = value.duration(),
        ),
        node(
            "command_timeout",
            Kind::Duration(millis(50), Duration::from_secs(HOUR)),
            r#""5s""#,
            "Time that one command may wait for the broker; then it fails with 100. Shorter than \
             session.pong_timeout.",
            |draft, value| draft.gateway.command_timeout = value.duration(),
        ),
        node(
            "write_timeout",
            Kind::Duration(millis(50), Duration::from_secs(HOUR)),
            r#""1s""#,
            "How long a client may take nothing while something waits for it; then it is closed with 3009.",
            |draft, value| draft.gateway.write_timeout = value.duration(),
        ),
        node(
            "expired_close_delay",
            seconds(0, HOUR),
            r#""25s""#,
            "Time to bring a new token after the old one has expired; then the connection, or the subscription, \
             is ended. \"0s\" gives none.",
            |draft, value| draft.gateway.expired_close_delay = value.duration(),
        ),
        node(
            "position_check_interval",
            seconds(1, DAY),
            r#""40s""#,
            "How often a channel with history is compared with the broker, to find a loss that no later \
             publication has shown.",
            |draft, value| draft.gateway.position_check_interval = value.duration(),
        ),
        node(
            "presence_ttl",
            seconds(3, DAY),
            r#""60s""#,
            "How long somebody is shown as present when the node that held the connection is gone.",
            |draft, value| draft.gateway.presence_ttl = value.duration(),
        ),
        node(
            "personal_channel",
            Kind::PersonalChannel,
            r#""off""#,
            "Channel that every user is subscribed to when connecting: \"#\" for #USER, \"NAMESPACE:#\" for \
             NAMESPACE:#USER. A user whose id holds \",\" or \"#\", or does not fit into a channel name, has none.",
            |draft, value| draft.gateway.personal_channel = value.text(),
        )
        .or("off"),
    ],
};

const LIMITS: Section = Section {
    name: "limits",
    doc: "How much there may be of everything, and what is done beyond it.",
    keys: &[
        node(
            "sessions_max",
            Kind::Count(1, 100_000_000),
            "1000000",
            "Sessions on this node; a further client gets 503 and tries again.",
            |draft, value| draft.gateway.sessions_max = value.number(),
        ),
        node(
            "sessions_per_user_max",
            Kind::Count(1, 1_000_000),
            r#""off""#,
            "Sessions of one user on this node; a further one is closed with 3504.",
            |draft, value| draft.gateway.sessions_per_user_max = value.number_or_word(),
        )
        .or("off"),
        node(
            "connections_per_address_max",
            Kind::Count(1, 1_000_000),
            "1000",
            "Connections of one address, or of one network of 64 bits in IPv6; a further one gets 503. Peers of this \
             machine are exempt, unless one of listen.trusted_proxies names the client.",
            |draft, value| draft.arrivals.connections_per_address_max = value.number_or_word(),
        )
        .or("off"),
        node(
            "accepts_per_second_max",
            Kind::Count(1, 1_000_000),
            "500",
            "Connections that one address may make in a second; further ones get 503. Exempt are peers of this \
             machine, and listen.trusted_proxies.",
            |draft, value| draft.arrivals.accepts_per_second_max = value.number_or_word(),
        )
        .or("off"),
        node(
            "handshakes_per_second_max",
            Kind::Count(1, 1_000_000),
            "250",
            "WebSockets that one address may open in a second; further ones get 503. Exempt are peers of this machine, \
             unless one of listen.trusted_proxies names the client.",
            |draft, value| draft.arrivals.handshakes_per_second_max = value.number_or_word(),
        )
        .or("off"),
        node(
            "commands_per_second_max",
            Kind::Count(1, RATE_MAX),
            "100",
            "Commands that one session may send in a second, ten seconds' worth at once; further ones get error 111. \
             A session with 1,000 of those in ten seconds is closed with 3013, for this limit and the ones below.",
            |draft, value| draft.gateway.session_rates.commands = rate(value),
        )
        .or("off"),
        node("publishes_per_second_max", Kind::Count(1, RATE_MAX), "50", "Publications among them.", |draft, value| {
            draft.gateway.session_rates.publishes = rate(value)
        })
        .or("off"),
        node(
            "bytes_per_second_max",
            Kind::Size(16 * KIB, 256 * MIB),
            r#""256KiB""#,
            "Bytes that are read from one session in a second, ten seconds' worth at once; what comes faster is read \
             later.",
            |draft, value| draft.gateway.session_rates.bytes = rate(value),
        )
        .or("off"),
        node(
            "user_commands_per_second_max",
            Kind::Count(1, RATE_MAX),
            "5000",
            "Commands that all sessions of one user on this node may send in a second, `connect` left out.",
            |draft, value| draft.gateway.user_rates.commands = rate(value),
        )
        .or("off"),
        node(
            "user_publishes_per_second_max",
            Kind::Count(1, RATE_MAX),
            "1000",
            "Publications among them.",
            |draft, value| draft.gateway.user_rates.publishes = rate(value),
        )
        .or("off"),
        node(
            "user_bytes_per_second_max",
            Kind::Size(16 * KIB, 256 * MIB),
            r#""16MiB""#,
            "Bytes that are read from all sessions of one user in a second; what comes faster is read later. A session \
             that brings more when twenty seconds' worth have come is closed with 3013.",
            |draft, value| draft.gateway.user_rates.bytes = rate(value),
        )
        .or("off"),
        node(
            "channels_per_session_max",
            Kind::Count(1, 1_000_000),
            "128",
            "Subscriptions of one session; a further one fails with 106.",
            |draft, value| draft.gateway.channels_per_session_max = value.number(),
        ),
        node(
            "channel_bytes_max",
            Kind::Count(1, 255),
            "255",
            "Bytes of a channel's name; a longer one fails with 107.",
            |draft, value| draft.gateway.channel_bytes_max = value.number(),
        ),
        node(
            "message_bytes_max",
            Kind::Size(KIB, 64 * MIB),
            r#""64KiB""#,
            "Largest message of a client, which may hold several commands; a larger one closes with 1009.",
            |draft, value| draft.gateway.message_bytes_max = value.number(),
        ),
        node(
            "payload_bytes_max",
            Kind::Size(1, 64 * MIB),
            r#""64KiB""#,
            "Largest payload of a publication, by whomever it is published.",
            |draft, value| draft.gateway.payload_bytes_max = value.number(),
        ),
        node(
            "outbox_bytes_max",
            Kind::Size(4 * KIB, GIB),
            r#""1MiB""#,
            "Bytes waiting for one client that reads slowly; beyond it the client is closed with 3008, comes back \
             and catches up. At least twice limits.payload_bytes_max.",
            |draft, value| draft.gateway.outbox_bytes_max = value.number(),
        ),
        node(
            "unsent_bytes_max",
            Kind::Size(4 * KIB, 64 * MIB),
            r#""16KiB""#,
            "Bytes that the operating system may hold unsent for one client.",
            |draft, value| draft.gateway.unsent_bytes_max = value.number(),
        ),
        node(
            "ring_bytes_max",
            Kind::Size(64 * KIB, 16 * GIB),
            r#""16MiB""#,
            "Bytes of publications waiting for one shard. When it is full, publishing waits up to 1s and then \
             fails with 100. At least twice limits.payload_bytes_max.",
            |draft, value| draft.gateway.ring_bytes_max = value.number(),
        ),
        node(
            "history_page_max",
            Kind::Count(1, 100_000),
            "300",
            "Publications in one reply to a client that reads history.",
            |draft, value| draft.gateway.history_page_max = value.number(),
        ),
        node(
            "recovery_publications_max",
            Kind::Count(1, 100_000),
            "300",
            "Publications that a client can catch up on; one that missed more is told so.",
            |draft, value| draft.gateway.recovery_publications_max = value.number(),
        ),
    ],
};

const BROKER: Section = Section {
    name: "broker",
    doc: "What is kept in memory. At a limit publishing fails with a message that names it: nothing is thrown \
          away silently.",
    keys: &[
        node(
            "history_bytes_max",
            Kind::Size(MIB, 1024 * GIB),
            r#""256MiB""#,
            "Bytes of history, of all channels together. At least twice limits.payload_bytes_max.",
            |draft, value| draft.broker.history_bytes_max = value.number(),
        ),
        node(
            "channels_max",
            Kind::Count(1, 1_000_000_000),
            "1000000",
            "Channels with history or presence at a time.",
            |draft, value| draft.broker.channels_max = value.number(),
        ),
        node(
            "idempotency_keys_max",
            Kind::Count(1, 1_000_000_000),
            "1000000",
            "Idempotency keys remembered at a time; each is for five minutes.",
            |draft, value| draft.broker.idempotency_keys_max = value.number(),
        ),
    ],
};

const REDIS: Section = Section {
    name: "redis",
    doc: "Several nodes as one hub: with a url, publications, history and presence go through Redis (6.2 or later, or \
          Valkey), and the [broker] section is not used. One server, the master that Sentinels name, or a Cluster.",
    keys: &[
        node(
            "url",
            Kind::RedisUrl,
            r#""off""#,
            "Where Redis is. \"off\" keeps everything in the node's own memory. redis://[USER:PASSWORD@]HOST[:PORT] is \
             one server, unix:///PATH one on this machine, redis+sentinel://HOST,HOST/MASTER the master of that name, \
             redis+cluster://HOST,HOST a cluster by some of its nodes. With rediss in place of redis every \
             connection is encrypted.",
            |draft, value| draft.redis_url = value.secret(),
        )
        .or("off"),
        node(
            "tls_ca_file",
            Kind::Text(4096),
            r#""system""#,
            "Certificates to trust, as PEM. \"system\" trusts what the machine trusts.",
            |draft, value| draft.redis.tls_ca_file = value.text().map(PathBuf::from),
        )
        .or("system"),
        node(
            "tls_cert_file",
            Kind::Text(4096),
            r#""off""#,
            "The certificate that this node shows to Redis, as PEM, with its chain.",
            |draft, value| draft.redis.tls_cert_file = value.text().map(PathBuf::from),
        )
        .or("off"),
        node("tls_key_file", Kind::Text(4096), r#""off""#, "The key of that certificate, as PEM.", |draft, value| {
            draft.redis.tls_key_file = value.text().map(PathBuf::from)
        })
        .or("off"),
        node(
            "tls_server_name",
            Kind::Text(253),
            r#""off""#,
            "The name that certificates of Redis have to bear. \"off\" takes the host's; Sentinels and Clusters mostly \
             tell addresses, which few certificates bear.",
            |draft, value| draft.redis.tls_server_name = value.text(),
        )
        .or("off"),
        node(
            "sentinel_user",
            Kind::Text(128),
            r#""off""#,
            "The user to log in as to Sentinels, if they want one. What stands in the URL is for Redis.",
            |draft, value| draft.redis.sentinel_user = value.text(),
        )
        .or("off"),
        node(
            "sentinel_password",
            Kind::Secret,
            r#""off""#,
            "The password for Sentinels, if they want one.",
            |draft, value| draft.redis.sentinel_password = value.secret(),
        )
        .or("off"),
        node(
            "prefix",
            Kind::Text(64),
            r#""fanfare""#,
            "Every key and every Redis channel begins with it. Hubs that share a Redis have one each.",
            |draft, value| draft.redis.prefix = value.text().unwrap_or_default(),
        ),
        node(
            "connect_timeout",
            Kind::Duration(millis(10), Duration::from_secs(MINUTE)),
            r#""1s""#,
            "Time for a connection to Redis to become usable.",
            |draft, value| draft.redis.connect_timeout = value.duration(),
        ),
        node(
            "start_timeout",
            Kind::Duration(millis(10), Duration::from_secs(HOUR)),
            r#""off""#,
            "How long a node that starts waits for Redis before it gives up and ends. \"off\" starts without it: the \
             node is not ready until Redis is there.",
            |draft, value| draft.redis.start_timeout = value.duration_or_off(),
        )
        .or("off"),
        node(
            "command_timeout",
            Kind::Duration(millis(10), Duration::from_secs(MINUTE)),
            r#""500ms""#,
            "Time for a command to Redis; then its outcome is unknown and the caller is told so.",
            |draft, value| draft.redis.command_timeout = value.duration(),
        ),
        node(
            "in_flight_max",
            Kind::Count(1, 1_000_000),
            "8192",
            "Publications that Redis has not answered yet. One more is refused as overloaded at once.",
            |draft, value| draft.redis.in_flight_max = value.number(),
        ),
        node(
            "in_flight_bytes_max",
            Kind::Size(MIB, GIB),
            r#""64MiB""#,
            "Bytes of those publications.",
            |draft, value| draft.redis.in_flight_bytes_max = value.number(),
        ),
        node(
            "linger",
            Kind::Duration(millis(1), Duration::from_secs(HOUR)),
            r#""10s""#,
            "How long the node listens on to a channel in Redis after its last subscriber has left.",
            |draft, value| draft.redis.linger = value.duration(),
        ),
        node(
            "silent_ttl",
            Kind::Duration(Duration::from_secs(MINUTE), Duration::from_secs(30 * DAY)),
            r#""1h""#,
            "How long the position of a channel without publications is kept after somebody last asked for it.",
            |draft, value| draft.redis.silent_ttl = value.duration(),
        ),
        node(
            "message_bytes_max",
            Kind::Size(64 * KIB, GIB),
            r#""4MiB""#,
            "Largest message taken from Redis; a larger one is skipped and counted.",
            |draft, value| draft.redis.message_bytes_max = value.number(),
        ),
        node(
            "ingest",
            Kind::Bool,
            "true",
            "Publish what programs put into the stream PREFIX:ingest. One of the nodes that have this on does.",
            |draft, value| draft.redis.ingest = value.is_on(),
        ),
    ],
};

const NODE: Section = Section {
    name: "node",
    doc: "The running process.",
    keys: &[
        node("name", Kind::Text(128), r#""fanfare""#, "Name of this node, shown by `fanfare info`.", |draft, value| {
            draft.gateway.node_name = value.text().unwrap_or_default()
        }),
        node(
            "shards",
            Kind::Count(1, fanfare_gateway::limits::SHARDS_MAX),
            r#""auto""#,
            "Threads that hold sessions. \"auto\" takes one for each core.",
            |draft, value| draft.shards = value.number_or_word(),
        )
        .or("auto"),
        node(
            "http_workers",
            Kind::Count(1, 1024),
            r#""auto""#,
            "Threads for HTTP requests. \"auto\" takes one for every two cores.",
            |draft, value| draft.http_workers = value.number_or_word(),
        )
        .or("auto"),
    ],
};

const LOG: Section = Section {
    name: "log",
    doc: "What is logged to standard error. Payloads and secrets never are.",
    keys: &[
        node(
            "format",
            Kind::Choice(&["text", "json"]),
            r#""text""#,
            "Lines to read, or JSON to collect.",
            |draft, value| {
                draft.log_format = value.text().unwrap_or_default();
            },
        ),
        node(
            "level",
            Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            r#""info""#,
            "The least that is logged.",
            |draft, value| draft.log_level = value.text().unwrap_or_default(),
        ),
    ],
};

const DRAIN: Section = Section {
    name: "drain",
    doc: "How the node stops on SIGTERM.",
    keys: &[node(
        "window",
        seconds(0, HOUR),
        r#""10s""#,
        "Time over which sessions are closed, evenly, so that they do not all come back at once elsewhere. \"0s\" \
         closes all of them now.",
        |draft, value| draft.drain_window = value.duration(),
    )],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_there_once() {
        let sections: BTreeSet<&str> = SECTIONS.iter().map(|section| section.name).collect();
        assert_eq!(sections.len(), SECTIONS.len());
        for section in SECTIONS {
            let keys: BTreeSet<&str> = section.keys.iter().map(|key| key.name).collect();
            assert_eq!(keys.len(), section.keys.len(), "{}", section.name);
        }
    }

    #[test]
    fn every_key_is_explained() {
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
        }
    }

    #[test]
    fn a_unit_of_a_number_stands_at_the_end_of_its_name() {
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            let bytes = matches!(key.kind, Kind::Size(..));
            let is_named = ["_bytes_max", "bytes_per_second_max"].iter().any(|end| key.name.ends_with(end));
            assert!(!bytes || is_named, "{}", key.name);
        }
    }

    #[test]
    fn names_of_namespaces() {
        for name in ["news", "a", "Chat-2_b.c", &"n".repeat(64)] {
            assert!(is_namespace_name(name), "{name}");
        }
        for name in ["", "a:b", "$a", "a#", "a b", "é", &"n".repeat(65)] {
            assert!(!is_namespace_name(name), "{name}");
        }
    }
}
