//! Channel options that one subscription has otherwise than its namespace.

use serde::{Deserialize, Deserializer};

/// What a token or a backend overrides for one subscription; `None` keeps the namespace's option.
///
/// Written as `{"presence":{"value":true}}`, so that "off" and "not said" differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SubscriptionOverrides {
    /// Whether the subscriber shows in presence.
    #[serde(deserialize_with = "value")]
    pub presence: Option<bool>,
    /// Whether the subscriber's joins and leaves are published.
    #[serde(deserialize_with = "value")]
    pub join_leave: Option<bool>,
    /// Whether joins and leaves are pushed to the subscriber.
    #[serde(deserialize_with = "value")]
    pub force_push_join_leave: Option<bool>,
    /// Whether the subscription is positioned without being asked.
    #[serde(deserialize_with = "value")]
    pub force_positioning: Option<bool>,
    /// Whether the subscription is recoverable without being asked.
    #[serde(deserialize_with = "value")]
    pub force_recovery: Option<bool>,
}

#[derive(Deserialize)]
struct Value {
    #[serde(default)]
    value: bool,
}

fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value: Option<Value> = Option::deserialize(deserializer)?;
    Ok(value.map(|value| value.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SubscriptionOverrides, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn off_and_not_said_differ() {
        let overrides =
            parse(r#"{"presence":{"value":true},"join_leave":{"value":false},"force_recovery":{}}"#).unwrap();
        let expected = SubscriptionOverrides {
            presence: Some(true),
            join_leave: Some(false),
            force_recovery: Some(false),
            ..SubscriptionOverrides::default()
        };
        assert_eq!(overrides, expected);
    }

    #[test]
    fn null_says_nothing_and_unknown_options_are_ignored() {
        assert_eq!(parse(r#"{"presence":null,"later":{"value":1}}"#).unwrap(), SubscriptionOverrides::default());
    }

    #[test]
    fn a_bare_value_is_refused() {
        assert!(parse(r#"{"presence":true}"#).is_err());
        assert!(parse(r#"{"presence":{"value":1}}"#).is_err());
    }
}
