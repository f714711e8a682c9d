//! Numbers that name things: tasks and local spans (53 bits each), and who woke whom (56 bits).
//!
//! A task or span id is `generation:35 | slot:18`. It is unique within the session, fits a double exactly, and
//! leaves room for a kind beside it in one word.

/// Bits of a slot number.
pub const SLOT_BITS: u32 = 18;
/// Slots that can be numbered; the last one stands for "no slot".
pub const MAX_SLOTS: u32 = 1 << SLOT_BITS;
/// The number of a thing that found no slot.
pub const NO_SLOT: u32 = MAX_SLOTS - 1;
const GENERATION_MASK: u64 = (1 << 35) - 1;
/// All bits of a task or span id.
pub const ID_MASK: u64 = (1 << 53) - 1;

/// The id of the thing that is `generation`th in `slot`; generations begin with 1, so no id is 0.
#[inline]
pub fn id(generation: u64, slot: u32) -> u64 {
    (generation & GENERATION_MASK) << SLOT_BITS | (slot & (MAX_SLOTS - 1)) as u64
}

/// The slot that an id names.
#[inline]
pub fn slot_of(id: u64) -> u32 {
    (id & (MAX_SLOTS as u64 - 1)) as u32
}

/// Who woke a task: `kind:3 | payload:53`. The payload is a task id or a thread's writer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Who(pub u64);

impl Who {
    /// Nobody knows.
    pub const UNKNOWN: Who = Who(0);
    /// A task within its poll; payload its id.
    pub const TASK: u64 = 1;
    /// The driver inside a park; payload the thread.
    pub const DRIVER: u64 = 2;
    /// A thread outside any task; payload the thread.
    pub const THREAD: u64 = 3;
    /// The task itself within its own poll.
    pub const ITSELF: u64 = 4;
    /// A park without a driver's turn: a yield; payload the thread.
    pub const YIELD: u64 = 5;
    /// A task that has just finished on the waking thread; payload its id.
    pub const COMPLETING: u64 = 6;
    /// A task whose future is being dropped; payload its id.
    pub const DROPPING: u64 = 7;

    /// Kind and payload in 56 bits.
    #[inline]
    pub fn new(kind: u64, payload: u64) -> Who {
        Who((kind & 7) << 53 | payload & ID_MASK)
    }

    /// The kind.
    pub fn kind(self) -> u64 {
        self.0 >> 53 & 7
    }

    /// The task or thread.
    pub fn payload(self) -> u64 {
        self.0 & ID_MASK
    }
}

/// A bijective mix of 64 bits, so that distinct inputs give distinct span ids.
#[inline]
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The OpenTelemetry span id of a local span, where pollscope makes it itself. Never 0.
#[inline]
pub fn otel_span_id(session_seed: u64, local: u64) -> u64 {
    match mix(session_seed ^ local) {
        0 => 1,
        id => id,
    }
}

/// The trace id of the trace that a local span is the root of. Never 0.
#[inline]
pub fn otel_trace_id(session_seed: u64, local: u64) -> u128 {
    let high = mix(session_seed.rotate_left(32) ^ local.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (high as u128) << 64 | mix(high ^ session_seed).max(1) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_slot_and_stays_below_2_53() {
        assert_eq!(slot_of(id(7, 12_345)), 12_345);
        assert!(id(u64::MAX, NO_SLOT) <= ID_MASK);
        assert_ne!(id(1, 0), 0);
    }

    #[test]
    fn who_keeps_kind_and_payload_in_56_bits() {
        let who = Who::new(Who::DROPPING, ID_MASK);
        assert_eq!((who.kind(), who.payload()), (Who::DROPPING, ID_MASK));
        assert!(who.0 < 1 << 56);
    }
}
