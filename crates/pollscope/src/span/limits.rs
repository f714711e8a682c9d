//! The limits of a span that OpenTelemetry names. They hold here, in the service; what is over one is counted.

use crate::task::Generations;
use pollscope_wire::ids;
use std::sync::atomic::Ordering;

/// How much one span may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SpanLimits {
    pub attributes: u32,
    /// Characters of a text.
    pub length: usize,
    pub events: u32,
    pub links: u32,
    pub event_attributes: u32,
    /// Tasks of one trace that are spans.
    pub tasks: u32,
}

impl SpanLimits {
    /// `OTEL_*_LIMIT`; one that is no number is left out, with a warning.
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>, warnings: &mut Vec<String>) -> SpanLimits {
        let mut read = |name: &str| {
            let text = get(name)?;
            let number = text.trim().parse::<u64>().ok();
            if number.is_none() {
                warnings.push(format!("{name} is {text:?}, which is no number: it is left out"));
            }
            number.map(|number| number.min(u32::MAX as u64) as u32)
        };
        let count = read("OTEL_ATTRIBUTE_COUNT_LIMIT").unwrap_or(128);
        let length = read("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT");
        // Our links have no attributes: any limit holds.
        let _ = read("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT");
        SpanLimits {
            attributes: read("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT").unwrap_or(count),
            length: read("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
                .or(length)
                .map_or(usize::MAX, |length| length as usize),
            events: read("OTEL_SPAN_EVENT_COUNT_LIMIT").unwrap_or(128),
            links: read("OTEL_SPAN_LINK_COUNT_LIMIT").unwrap_or(128),
            event_attributes: read("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT").unwrap_or(count),
            tasks: read("POLLSCOPE_MAX_TASK_SPANS").unwrap_or(256),
        }
    }
}

/// Events of the span in each slot: `kept:20 | over the limit:20 | generation:24`. An event knows its span by
/// its id alone.
static EVENTS: Generations = Generations::new();
const MOST: u64 = (1 << 20) - 1;

fn generation(span: u64) -> u64 {
    (span / ids::MAX_SLOTS as u64) & 0xff_ffff
}

/// Takes room for one more event of a span; `false`: it is over the limit, and counted. Spans without a slot are
/// left to the agent's limit.
pub(crate) fn admit_event(span: u64, limit: u32) -> bool {
    let slot = ids::slot_of(span);
    if span == 0 || slot == ids::NO_SLOT {
        return true;
    }
    let cell = EVENTS.cell(slot);
    let old = cell.load(Ordering::Relaxed);
    let old = if old >> 40 == generation(span) { old } else { generation(span) << 40 };
    let (kept, over) = (old & MOST, old >> 20 & MOST);
    let admitted = kept < limit as u64;
    // Two threads in one span may both take the last room.
    let grown = if admitted { (kept < MOST) as u64 } else { ((over < MOST) as u64) << 20 };
    cell.store(old + grown, Ordering::Relaxed);
    admitted
}

/// Events of a span that were over the limit.
pub(crate) fn dropped_events(span: u64) -> u32 {
    let slot = ids::slot_of(span);
    if slot == ids::NO_SLOT {
        return 0;
    }
    let word = EVENTS.cell(slot).load(Ordering::Relaxed);
    if word >> 40 == generation(span) { (word >> 20 & MOST) as u32 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn limits(pairs: &[(&str, &str)], warnings: usize) -> SpanLimits {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        let mut said = Vec::new();
        let limits = SpanLimits::from_lookup(get, &mut said);
        assert_eq!(said.len(), warnings, "{said:?}");
        limits
    }

    #[test]
    fn a_spans_own_limit_wins_over_the_general_one() {
        let default = limits(&[], 0);
        assert_eq!((default.attributes, default.length, default.events), (128, usize::MAX, 128));
        let general = [("OTEL_ATTRIBUTE_COUNT_LIMIT", "7"), ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "9")];
        let of_all = limits(&general, 0);
        assert_eq!((of_all.attributes, of_all.event_attributes, of_all.length), (7, 7, 9));
        let own = [("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5"), ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "6")];
        let own = limits(&[general, own].concat(), 0);
        assert_eq!((own.attributes, own.event_attributes, own.length), (5, 7, 6));
    }

    #[test]
    fn what_is_no_number_is_left_out_with_a_warning() {
        let odd = limits(&[("OTEL_SPAN_LINK_COUNT_LIMIT", "-1"), ("OTEL_SPAN_EVENT_COUNT_LIMIT", "few")], 2);
        assert_eq!(odd, limits(&[], 0));
        let vast = limits(&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "9999999999")], 0);
        assert_eq!(vast.events, u32::MAX);
    }

    #[test]
    fn events_over_the_limit_are_counted_for_the_span_that_has_the_slot() {
        let (slot, next) = (ids::id(1, 77), ids::id(2, 77));
        let admitted = (0..5).filter(|_| admit_event(slot, 3)).count();
        assert_eq!((admitted, dropped_events(slot)), (3, 2));
        assert_eq!(dropped_events(next), 0);
        assert!(admit_event(next, 1) && !admit_event(next, 1));
        assert_eq!(dropped_events(next), 1);
    }
}
