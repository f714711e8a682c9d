//! The `otel.*` fields of a span, which say something about it instead of being attributes. They mean what they
//! mean in `tracing-opentelemetry`.

use crate::event::{Attribute, SpanSource, Status, Value};
use crate::span::{SpanEvent, SpanKind};
use std::sync::Arc;

/// Whether a field is one of them.
pub(crate) fn is_special(key: &str) -> bool {
    matches!(
        key,
        "otel.name" | "otel.kind" | "otel.status_code" | "otel.status_message" | "otel.status_description"
    )
}

/// What a span's special fields said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Special {
    pub(crate) name: Option<Arc<str>>,
    kind: Option<SpanKind>,
    status: Option<Status>,
    message: Option<Arc<str>>,
}

impl Special {
    /// Takes the special fields out of `attributes`. One that cannot be understood stays an attribute.
    pub(crate) fn take(attributes: impl Iterator<Item = Attribute>) -> (Special, Vec<Attribute>) {
        let mut special = Special::default();
        let rest = attributes.filter(|attribute| !special.take_one(attribute)).collect();
        (special, rest)
    }

    fn take_one(&mut self, attribute: &Attribute) -> bool {
        let Value::Str(text) = &attribute.value else { return false };
        match &*attribute.key {
            "otel.name" => self.name = Some(text.clone()),
            "otel.kind" => match kind(text) {
                Some(kind) => self.kind = Some(kind),
                None => return false,
            },
            "otel.status_code" => match status(text) {
                Some(status) => self.status = Some(status),
                None => return false,
            },
            "otel.status_message" | "otel.status_description" => self.message = Some(text.clone()),
            _ => return false,
        }
        true
    }

    /// The kind: as said, or else by why the span exists.
    pub(crate) fn kind(&self, source: SpanSource) -> SpanKind {
        self.kind.unwrap_or(match source {
            SpanSource::Server => SpanKind::Server,
            SpanSource::Client => SpanKind::Client,
            SpanSource::Code | SpanSource::Task | SpanSource::Job => SpanKind::Internal,
        })
    }

    /// Status and message, given the status by outcome. A message belongs to an error, and makes it one if
    /// nothing else was said; so does an event that tells of an error.
    pub(crate) fn status(&self, outcome: Status, events: &[SpanEvent]) -> (Status, Option<Arc<str>>) {
        let said = self.status.unwrap_or(outcome);
        let message = self.message.as_ref().or_else(|| events.iter().rev().find_map(error_text));
        let failed = message.is_some() || events.iter().any(|event| event.callsite.severity >= ERROR);
        let status = if said == Status::Unset && failed { Status::Error } else { said };
        (status, message.filter(|_| status == Status::Error).cloned())
    }
}

/// OpenTelemetry's severity number from which an event is an error.
const ERROR: u8 = 17;

/// The error that an event tells of: a field `error`, with no message beside it.
fn error_text(event: &SpanEvent) -> Option<&Arc<str>> {
    let text = |key: &str| {
        event.attributes.iter().find_map(|attribute| match &attribute.value {
            Value::Str(text) if &*attribute.key == key => Some(text),
            _ => None,
        })
    };
    text("error").filter(|_| text("message").is_none())
}

fn kind(text: &str) -> Option<SpanKind> {
    let kinds = [
        ("internal", SpanKind::Internal),
        ("server", SpanKind::Server),
        ("client", SpanKind::Client),
        ("producer", SpanKind::Producer),
        ("consumer", SpanKind::Consumer),
    ];
    kinds.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
}

fn status(text: &str) -> Option<Status> {
    let statuses = [("ok", Status::Ok), ("error", Status::Error), ("unset", Status::Unset)];
    statuses.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, status)| status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Callsite;
    use crate::time::UnixNanos;

    fn taken(fields: &[(&str, &str)]) -> (Special, Vec<String>) {
        let attributes = fields.iter().map(|(key, value)| Attribute {
            key: (*key).into(),
            value: Value::Str((*value).into()),
            cut: None,
        });
        let (special, rest) = Special::take(attributes);
        (special, rest.into_iter().map(|attribute| attribute.key.to_string()).collect())
    }

    #[test]
    fn special_fields_speak_and_are_no_attributes() {
        let (special, rest) = taken(&[
            ("order", "7"),
            ("otel.name", "GET /orders"),
            ("otel.kind", "SERVER"),
            ("otel.status_code", "Error"),
            ("otel.status_description", "sold out"),
        ]);
        assert_eq!(rest, ["order"]);
        assert_eq!(special.name.as_deref(), Some("GET /orders"));
        assert_eq!(special.kind(SpanSource::Code), SpanKind::Server);
        assert_eq!(special.status(Status::Ok, &[]), (Status::Error, Some("sold out".into())));
    }

    #[test]
    fn a_message_makes_an_error_unless_the_span_is_said_to_be_right() {
        let (special, _) = taken(&[("otel.status_message", "late")]);
        assert_eq!(special.status(Status::Unset, &[]), (Status::Error, Some("late".into())));
        assert_eq!(special.status(Status::Ok, &[]), (Status::Ok, None));
    }

    #[test]
    fn an_event_that_tells_of_an_error_makes_one_unless_the_span_is_said_to_be_right() {
        let event = |severity, fields: &[(&str, &str)]| SpanEvent {
            at: UnixNanos(1),
            callsite: Arc::new(Callsite { severity, ..Callsite::default() }),
            dropped_attributes: 0,
            attributes: fields
                .iter()
                .map(|(key, value)| Attribute {
                    key: (*key).into(),
                    value: Value::Str((*value).into()),
                    cut: None,
                })
                .collect(),
        };
        let (plain, _) = taken(&[]);
        let status = |event| plain.status(Status::Unset, &[event]);
        assert_eq!(status(event(9, &[("message", "fine")])), (Status::Unset, None));
        assert_eq!(status(event(17, &[("message", "bad")])), (Status::Error, None));
        assert_eq!(status(event(9, &[("error", "late")])), (Status::Error, Some("late".into())));
        assert_eq!(status(event(9, &[("error", "late"), ("message", "again")])), (Status::Unset, None));
        let (right, _) = taken(&[("otel.status_code", "ok")]);
        assert_eq!(right.status(Status::Unset, &[event(17, &[("error", "late")])]), (Status::Ok, None));
    }

    #[test]
    fn what_is_not_understood_stays_an_attribute() {
        let (special, rest) = taken(&[("otel.kind", "sideways"), ("otel.status_code", "fine")]);
        assert_eq!(rest, ["otel.kind", "otel.status_code"]);
        assert_eq!(special.kind(SpanSource::Client), SpanKind::Client);
        assert_eq!(special.status(Status::Unset, &[]), (Status::Unset, None));
    }
}
