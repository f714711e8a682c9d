//! What of a session's spans could not be shown.

/// What could not be shown, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounters {
    /// Spans that left, unfinished ones included.
    pub released: u64,
    /// Spans that ended and never got ids.
    pub no_ids: u64,
    /// Pieces of spans that nobody opened or ended.
    pub orphans: u64,
    /// Pieces that came after their span had left.
    pub late: u64,
    /// Attributes beyond the limit.
    pub dropped_attributes: u64,
    /// Events beyond the limit.
    pub dropped_events: u64,
    /// Links beyond the limit.
    pub dropped_links: u64,
    /// Links to spans of this session whose ids are not known (any more).
    pub unresolved_links: u64,
    /// Events outside any span.
    pub outside: u64,
    /// Pieces refused because too many spans were open.
    pub refused: u64,
    /// Spans given up because too many were open and nothing tells whether they still are.
    pub evicted: u64,
    /// Spans that are over although their end was never read: it was lost.
    pub lost_ends: u64,
    /// Spans that left incomplete: some of their attributes were lost.
    pub incomplete: u64,
    /// Events that did not leave by themselves: too many waited for their ids.
    pub refused_logs: u64,
}

impl SpanCounters {
    /// Adds another session's.
    pub(crate) fn add(&mut self, other: &SpanCounters) {
        let SpanCounters {
            released,
            no_ids,
            orphans,
            late,
            dropped_attributes,
            dropped_events,
            dropped_links,
            unresolved_links,
            outside,
            refused,
            evicted,
            lost_ends,
            incomplete,
            refused_logs,
        } = *other;
        self.released += released;
        self.no_ids += no_ids;
        self.orphans += orphans;
        self.late += late;
        self.dropped_attributes += dropped_attributes;
        self.dropped_events += dropped_events;
        self.dropped_links += dropped_links;
        self.unresolved_links += unresolved_links;
        self.outside += outside;
        self.refused += refused;
        self.evicted += evicted;
        self.lost_ends += lost_ends;
        self.incomplete += incomplete;
        self.refused_logs += refused_logs;
    }
}
