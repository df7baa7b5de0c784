//! Several calls in one request.
//!
//! Commands are done one after the other, or some at once with `parallel`; replies come in the order of the
//! commands. A command that fails gets its error in its place, and the others are done all the same.

use std::collections::BTreeMap;

use fanfare_protocol::ErrorCode;
use futures_util::{StreamExt as _, stream};
use serde_json::value::RawValue;

use crate::call::{Call, Method};
use crate::caller::Caller;
use crate::error::{Error, Failure};
use crate::json::{object, write_array, write_object};
use crate::limits::IN_FLIGHT_MAX;
use crate::request::{Batch, parse};
use crate::{Api, Metrics};

type Outcome = Result<(Method, Vec<u8>), Error>;

/// The whole reply body.
pub(crate) async fn run(api: &Api, metrics: &Metrics, caller: Caller<'_>, text: &str) -> Result<Vec<u8>, Failure> {
    let batch: Batch = parse(text).map_err(Failure::bad_body)?;
    let commands = batch.commands.unwrap_or_default();
    let max = api.limits.batch_commands_max;
    if commands.len() > max {
        let detail = format!("{} commands are more than the {max} of api.batch_commands_max", commands.len());
        return Err(Error::bad_request(detail).into());
    }
    let at_once = if batch.parallel.unwrap_or_default() { IN_FLIGHT_MAX } else { 1 };
    let outcomes = stream::iter(commands).map(|command| answer(api, metrics, caller, command)).buffered(at_once);
    Ok(replies(&outcomes.collect::<Vec<_>>().await))
}

async fn answer(api: &Api, metrics: &Metrics, caller: Caller<'_>, command: Box<RawValue>) -> Outcome {
    let (method, request) = only_member(&command)?;
    let outcome = match judged(metrics, caller, method, request) {
        Ok(call) => call.run(api, caller).await,
        Err(error) => Err(error),
    };
    match &outcome {
        Ok(_) => metrics.succeeded(method.name()),
        Err(error) => metrics.failed(method.name(), &error.clone().into()),
    }
    outcome.map(|result| (method, result))
}

/// Each command is judged by itself: its method before its request, as outside of a batch.
fn judged<'a>(metrics: &Metrics, caller: Caller<'_>, method: Method, request: &'a RawValue) -> Result<Call<'a>, Error> {
    metrics.judged(caller.may_call(method))?;
    let call = Call::parse(method, request.get());
    let call = call.map_err(|detail| Error::bad_request(format!("{}: {detail}", method.name())))?;
    metrics.judged(caller.may_make(&call))?;
    Ok(call)
}

/// The method and the request of a command.
fn only_member(command: &RawValue) -> Result<(Method, &RawValue), Error> {
    let refused = || Error::bad_request("a command is an object with the method as its only key");
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(command.get()).map_err(|_| refused())?;
    let mut members = members.into_iter();
    let nothing = || Error::new(ErrorCode::MethodNotFound, "the command names no method");
    let (name, request) = members.next().ok_or_else(nothing)?;
    if members.next().is_some() {
        return Err(refused());
    }
    Ok((Method::named(&name)?, request))
}

/// `{"replies":[…]}`; without any command `{}`, as callers expect it.
fn replies(outcomes: &[Outcome]) -> Vec<u8> {
    object(|body| {
        if !outcomes.is_empty() {
            write_array(body.value("replies"), outcomes, write_reply);
        }
    })
}

fn write_reply(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Ok((method, result)) => write_object(out, |reply| reply.raw(method.name(), result)),
        Err(error) => error.write_enveloped(out),
    }
}
