//! The one handler behind all routes: finds what is called, judges who calls and what is sent, answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::request::Parts;

use crate::call::{Call, Method};
use crate::caller::Caller;
use crate::error::{ErrorMode, Failure, json_response};
use crate::refusals::Refusals;
use crate::request::body_text;
use crate::route::Route;
use crate::{Api, Metrics, batch, body, document, plain};

struct Endpoint {
    api: Api,
    metrics: Metrics,
    refusals: Refusals,
}

/// One handler for all of `/api`: what is unknown there is answered in JSON, too.
pub(crate) fn router(api: Api, metrics: Metrics) -> Router {
    let endpoint = Arc::new(Endpoint { api, metrics, refusals: Refusals::default() });
    let routes = Router::new().route("/api", any(serve)).route("/api/", any(serve)).route("/api/{*path}", any(serve));
    routes.with_state(endpoint)
}

async fn serve(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let mode = ErrorMode::of(&parts.headers);
    let answer = match Route::find(parts.uri.path()) {
        Ok(route) => (route.name(), endpoint.answer(&route, &parts, &mut body).await),
        Err(failure) => ("unknown", Err(failure)),
    };
    match answer {
        (name, Ok(reply)) => {
            endpoint.metrics.succeeded(name);
            json_response(reply)
        }
        (name, Err(failure)) => {
            endpoint.metrics.failed(name, &failure);
            endpoint.refusals.log(name, &failure);
            body::discard(&parts.headers, &mut body).await;
            failure.into_response(mode)
        }
    }
}

impl Endpoint {
    async fn answer(&self, route: &Route<'_>, parts: &Parts, body: &mut Body) -> Result<Bytes, Failure> {
        route.check_http_method(&parts.method)?;
        match route {
            Route::Document => Ok(Bytes::from_static(document::TEXT.as_bytes())),
            Route::Publish(channel) => {
                let (caller, body) = self.admit(route, Method::Publish, parts, body).await?;
                let publication = plain::read(&self.api, channel, parts, &body)?;
                self.metrics.judged(caller.may_reach([&*publication.channel]))?;
                Ok(enveloped(publication.publish(&self.api).await?))
            }
            Route::Method(method) => {
                let (caller, body) = self.admit(route, *method, parts, body).await?;
                let text = body_text(&body).map_err(Failure::bad_body)?;
                self.call(caller, *method, text).await
            }
        }
    }

    /// The checks in their order: key, scope, headers, size. Caller and body, if all is well.
    async fn admit(
        &self,
        route: &Route<'_>,
        method: Method,
        parts: &Parts,
        body: &mut Body,
    ) -> Result<(Caller<'_>, Bytes), Failure> {
        let caller = self.metrics.judged(self.api.auth.check(&parts.headers))?;
        self.metrics.judged(caller.may_call(method))?;
        body::check_encoding(&parts.headers)?;
        if matches!(route, Route::Method(_)) {
            body::check_type(&parts.headers)?;
        }
        Ok((caller, body::read(&parts.headers, body, &self.api.limits).await?))
    }

    async fn call(&self, caller: Caller<'_>, method: Method, text: &str) -> Result<Bytes, Failure> {
        if method == Method::Batch {
            return batch::run(&self.api, &self.metrics, caller, text).await.map(Bytes::from);
        }
        let call = Call::parse(method, text).map_err(Failure::bad_body)?;
        self.metrics.judged(caller.may_make(&call))?;
        Ok(enveloped(call.run(&self.api, caller).await?))
    }
}

/// `{"result":…}`, around the result where it is: a history may be large.
fn enveloped(mut result: Vec<u8>) -> Bytes {
    result.splice(..0, *br#"{"result":"#);
    result.push(b'}');
    result.into()
}
