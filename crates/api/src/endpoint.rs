//! The one handler behind all routes: finds what is called, judges who calls and what is sent, answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::request::Parts;
use tokio::sync::watch;

use crate::call::{Call, Method};
use crate::caller::Caller;
use crate::error::{ErrorMode, Failure, json_response};
use crate::refusals::Refusals;
use crate::request::body_text;
use crate::route::Route;
use crate::{Api, Metrics, batch, body, document, plain};

struct Endpoint {
    api: watch::Receiver<Arc<Api>>,
    metrics: Metrics,
    refusals: Refusals,
}

/// One handler for all of `/api`: what is unknown there is answered in JSON, too.
pub(crate) fn router(api: watch::Receiver<Arc<Api>>, metrics: Metrics) -> Router {
    let endpoint = Arc::new(Endpoint { api, metrics, refusals: Refusals::default() });
    let routes = Router::new().route("/api", any(serve)).route("/api/", any(serve)).route("/api/{*path}", any(serve));
    routes.with_state(endpoint)
}

async fn serve(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let mode = ErrorMode::of(&parts.headers);
    // One request is judged by the same all the way.
    let api = Arc::clone(&endpoint.api.borrow());
    let answer = match Route::find(parts.uri.path()) {
        Ok(route) => (route.name(), endpoint.answer(&api, &route, &parts, &mut body).await),
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
    async fn answer(&self, api: &Api, route: &Route<'_>, parts: &Parts, body: &mut Body) -> Result<Bytes, Failure> {
        route.check_http_method(&parts.method)?;
        match route {
            Route::Document => Ok(Bytes::from_static(document::TEXT.as_bytes())),
            Route::Publish(channel) => {
                let (caller, body) = self.admit(api, (route, Method::Publish), parts, body).await?;
                let publication = plain::read(api, channel, parts, &body)?;
                self.metrics.judged(caller.may_reach([&*publication.channel]))?;
                Ok(enveloped(publication.publish(api).await?))
            }
            Route::Method(method) => {
                let (caller, body) = self.admit(api, (route, *method), parts, body).await?;
                let text = body_text(&body).map_err(Failure::bad_body)?;
                self.call(api, caller, *method, text).await
            }
        }
    }

    /// The checks in their order: key, scope, headers, size. Caller and body, if all is well.
    async fn admit<'a>(
        &self,
        api: &'a Api,
        (route, method): (&Route<'_>, Method),
        parts: &Parts,
        body: &mut Body,
    ) -> Result<(Caller<'a>, Bytes), Failure> {
        let caller = self.metrics.judged(api.auth.check(&parts.headers))?;
        self.metrics.judged(caller.may_call(method))?;
        body::check_encoding(&parts.headers)?;
        if matches!(route, Route::Method(_)) {
            body::check_type(&parts.headers)?;
        }
        Ok((caller, body::read(&parts.headers, body, &api.limits).await?))
    }

    async fn call(&self, api: &Api, caller: Caller<'_>, method: Method, text: &str) -> Result<Bytes, Failure> {
        if method == Method::Batch {
            return batch::run(api, &self.metrics, caller, text).await.map(Bytes::from);
        }
        let call = Call::parse(method, text).map_err(Failure::bad_body)?;
        self.metrics.judged(caller.may_make(&call))?;
        Ok(enveloped(call.run(api, caller).await?))
    }
}

/// `{"result":…}`, around the result where it is: a history may be large.
fn enveloped(mut result: Vec<u8>) -> Bytes {
    result.splice(..0, *br#"{"result":"#);
    result.push(b'}');
    result.into()
}
