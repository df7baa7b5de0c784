//! The OpenAPI document. Written by hand; a test holds it against the routes and the request types.

/// The document, as served at `/api/openapi.json`.
pub(crate) const TEXT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::call::Method;
    use crate::request::*;
    use crate::route::Route;

    fn document() -> Value {
        serde_json::from_str(TEXT).unwrap()
    }

    /// The schema that a reference leads to.
    fn resolve<'a>(document: &'a Value, reference: &Value) -> &'a Value {
        let path = reference["$ref"].as_str().and_then(|path| path.strip_prefix('#')).unwrap();
        document.pointer(path).unwrap_or_else(|| panic!("{path} leads nowhere"))
    }

    fn request_schema(document: &Value, method: Method) -> &Value {
        let path = format!("/api/{}", method.name());
        let body = &document["paths"][&path]["post"]["requestBody"];
        resolve(document, &body["content"]["application/json"]["schema"])
    }

    #[track_caller]
    fn check_fields(schema: &Value, fields: &[String]) {
        let documented: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, fields.iter().map(String::as_str).collect());
        assert_eq!(schema["additionalProperties"], false);
    }

    fn fields_of(method: Method) -> Vec<String> {
        match method {
            Method::Publish => fields::<Publish<'_>>(),
            Method::Broadcast => fields::<Broadcast<'_>>(),
            Method::Subscribe => fields::<Subscribe<'_>>(),
            Method::Unsubscribe => fields::<Unsubscribe>(),
            Method::Disconnect => fields::<Disconnect>(),
            Method::Refresh => fields::<Refresh<'_>>(),
            Method::Presence | Method::PresenceStats | Method::HistoryRemove => fields::<OfChannel>(),
            Method::History => fields::<History>(),
            Method::Channels => fields::<Channels>(),
            Method::Info => fields::<Info>(),
            Method::BlockUser => fields::<BlockUser>(),
            Method::UnblockUser => fields::<UnblockUser>(),
            Method::RevokeToken => fields::<RevokeToken>(),
            Method::InvalidateUserTokens => fields::<InvalidateUserTokens>(),
            Method::Revocations => fields::<Revocations>(),
            Method::RevocationRemove => fields::<RevocationRemove>(),
            Method::Batch => fields::<Batch>(),
        }
    }

    #[test]
    fn it_has_every_field_of_every_method_and_no_other() {
        let document = document();
        for method in Method::ALL {
            check_fields(request_schema(&document, method), &fields_of(method));
        }
        let schemas = &document["components"]["schemas"];
        check_fields(&schemas["Position"], &fields::<Position>());
        check_fields(&schemas["CloseCode"], &fields::<CloseCode>());
        check_fields(&schemas["Overrides"], &fields::<Overrides>());
        check_fields(&schemas["Override"], &fields::<Override>());
    }

    #[test]
    fn it_has_every_route_and_no_other() {
        let document = document();
        let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let methods: Vec<String> = Method::ALL.iter().map(|method| format!("/api/{}", method.name())).collect();
        let mut expected: BTreeSet<&str> = methods.iter().map(String::as_str).collect();
        expected.extend(["/api/publish/{channel}", "/api/openapi.json"]);
        assert_eq!(paths, expected);
        assert!(paths.iter().all(|path| Route::find(path).is_ok()));
    }

    #[test]
    fn a_batch_may_hold_every_method_but_itself() {
        let document = document();
        let properties = document["components"]["schemas"]["BatchCommand"]["properties"].as_object().unwrap();
        let expected: BTreeSet<&str> =
            Method::ALL.iter().map(|method| method.name()).filter(|name| *name != "batch").collect();
        assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn its_examples_are_taken() {
        let document = document();
        for method in Method::ALL.into_iter().filter(|method| *method != Method::Batch) {
            let path = format!("/api/{}", method.name());
            let example = &document["paths"][&path]["post"]["requestBody"]["content"]["application/json"]["example"];
            let parsed = crate::call::Call::parse(method, &example.to_string()).map(drop);
            assert_eq!(parsed, Ok(()), "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(document: &Value, value: &Value) {
            if value.get("$ref").is_some_and(Value::is_string) {
                resolve(document, value);
            }
            match value {
                Value::Object(members) => members.values().for_each(|member| walk(document, member)),
                Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
                _ => {}
            }
        }
        walk(&document(), &document());
    }
}
