//! Records: their kinds, flags and words. A record is `kind:8 | len:8 | flags:16 | dtick:32` and `len - 1`
//! words of body. Encoding gives fixed arrays to write; decoding takes whatever was read.

use crate::ids::{ID_MASK, Who};
use crate::layout::{pack, unpack};

/// What a record is.
pub mod kind {
    /// The rest of the block is unused.
    pub const PAD: u8 = 0;
    /// A whole tick, where `dtick` would not hold the gap: body 1 word.
    pub const TICK: u8 = 1;
    /// More bytes of the value before.
    pub const MORE: u8 = 2;
    /// A thread took this ring.
    pub const THREAD: u8 = 3;
    /// A poll ended.
    pub const POLL: u8 = 16;
    /// A task was born.
    pub const TASK_BIRTH: u8 = 17;
    /// A task that is no span ended.
    pub const TASK_END: u8 = 18;
    /// A task saw another's result.
    pub const JOIN: u8 = 19;
    /// A park ended.
    pub const PARK: u8 = 20;
    /// A job ended.
    pub const JOB: u8 = 21;
    /// A span was opened.
    pub const SPAN_OPEN: u8 = 32;
    /// A span's OpenTelemetry ids became known.
    pub const SPAN_IDS: u8 = 33;
    /// An attribute of a span, or of the event before.
    pub const ATTRIBUTE: u8 = 34;
    /// An event.
    pub const EVENT: u8 = 35;
    /// A link.
    pub const LINK: u8 = 36;
    /// A span ended.
    pub const SPAN_END: u8 = 37;
    /// A stack taken by normal code.
    pub const STACK: u8 = 38;
    /// A CPU sample.
    pub const SAMPLE: u8 = 48;
}

/// The class in which a record's loss is counted: 0 polls, 1 span ends, 2 others.
#[inline]
pub fn class_of(kind: u8) -> usize {
    match kind {
        kind::POLL => 0,
        kind::SPAN_END => 1,
        _ => 2,
    }
}

/// Flags of a poll: outcome in bits 0 and 1, the task's poll ordinal in the high 8 bits.
pub mod poll {
    /// Outcome bits.
    pub const OUTCOME: u16 = 3;
    /// Not done.
    pub const PENDING: u16 = 0;
    /// Done.
    pub const READY: u16 = 1;
    /// It unwound.
    pub const PANICKED: u16 = 2;
    /// No wake was seen before it.
    pub const UNWOKEN: u16 = 1 << 2;
    /// A word with the ticks of inner polls follows.
    pub const NESTED: u16 = 1 << 3;
    /// Busy and scheduled take a word each.
    pub const LONG: u16 = 1 << 4;
    /// A word with the last waker follows.
    pub const LAST_WHO: u16 = 1 << 5;
    /// The waker was cloned during the poll.
    pub const CLONED: u16 = 1 << 6;
    /// The poll was sampled: a stack may follow.
    pub const SAMPLED: u16 = 1 << 7;
}

/// Flags of a span end, and of a span slot.
pub mod span {
    /// Ids are known.
    pub const IDS: u16 = 1;
    /// The trace is sampled.
    pub const SAMPLED: u16 = 1 << 1;
    /// The parent is in another process.
    pub const REMOTE_PARENT: u16 = 1 << 2;
    /// Status ok.
    pub const OK: u16 = 1 << 3;
    /// Status error.
    pub const ERROR: u16 = 1 << 4;
    /// Dropped before it completed.
    pub const CANCELLED: u16 = 1 << 5;
    /// Scheduled time was cut, or could not be known.
    pub const ESTIMATED: u16 = 1 << 6;
    /// A poll unwound.
    pub const PANICKED: u16 = 1 << 7;
    /// Another exporter has this span: it is only shown.
    pub const FOREIGN: u16 = 1 << 8;
    /// It went on after its local root had ended.
    pub const DETACHED: u16 = 1 << 9;
    /// Ids will come later.
    pub const IDS_LATER: u16 = 1 << 10;
    /// A request goes on in it, also past its task.
    pub const UNDER_WAY: u16 = 1 << 11;
}

/// Why a span exists, in the top 8 bits of its task word.
pub mod source {
    /// Opened by code.
    pub const CODE: u8 = 0;
    /// A task.
    pub const TASK: u8 = 1;
    /// A job.
    pub const JOB: u8 = 2;
    /// A request served.
    pub const SERVER: u8 = 3;
    /// A request sent.
    pub const CLIENT: u8 = 4;
}

/// Kinds of task, in the top 8 bits of its parent word.
pub mod task_kind {
    /// Spawned on a runtime.
    pub const SPAWNED: u8 = 0;
    /// Spawned on a `LocalSet`.
    pub const LOCAL: u8 = 1;
    /// The future under `block_on` in main.
    pub const MAIN: u8 = 2;
    /// Wrapped by hand, on any runtime.
    pub const WRAPPED: u8 = 3;
    /// A request inside its connection's task.
    pub const REQUEST: u8 = 4;
    /// Seen through the runtime's hooks only.
    pub const HOOKED: u8 = 5;
}

/// How a task or job ended, in the flags of its end.
pub mod outcome {
    /// Ready.
    pub const FINISHED: u16 = 0;
    /// Dropped before.
    pub const CANCELLED: u16 = 1;
    /// Unwound.
    pub const PANICKED: u16 = 2;
}

/// Types of an attribute's value.
pub mod value {
    /// UTF-8 bytes.
    pub const STR: u8 = 0;
    /// i64.
    pub const I64: u8 = 1;
    /// u64.
    pub const U64: u8 = 2;
    /// f64's bits.
    pub const F64: u8 = 3;
    /// 0 or 1.
    pub const BOOL: u8 = 4;
    /// Attribute flag: it belongs to the event before it, not to the span.
    pub const OF_EVENT: u16 = 1;
    /// Event flag: its span has as many as it may have, and counts it as dropped. Of a log record it is all.
    pub const BEYOND: u16 = 1;
}

/// Bytes of a value in one record; what is longer goes on in MORE records.
pub const VALUE_PART: usize = 1024;
/// Bytes of a value at most.
pub const VALUE_MAX: usize = 16 * 1024;

/// A record's first word.
#[inline]
pub const fn header(kind: u8, words: u8, flags: u16, dtick: u32) -> u64 {
    kind as u64 | (words as u64) << 8 | (flags as u64) << 16 | (dtick as u64) << 32
}

/// A record as read: flags and body, at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Kind, perhaps unknown.
    pub kind: u8,
    /// Flags.
    pub flags: u16,
    /// The tick it was written at.
    pub tick: u64,
    /// Where it stands in its ring: absolute bytes.
    pub position: u64,
    /// The words after the header.
    pub body: &'a [u64],
}

/// A task's totals, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Polls.
    pub polls: u64,
    /// Inside polls.
    pub busy: u64,
    /// The part of busy that inner tasks account for.
    pub nested: u64,
    /// From wake to poll.
    pub scheduled: u64,
    /// From poll to wake.
    pub idle: u64,
    /// Wakes by others.
    pub wakes: u64,
    /// Wakes by itself.
    pub self_wakes: u64,
    /// Clones of its waker.
    pub clones: u64,
    /// Drops of its waker.
    pub drops: u64,
}

/// The birth of a task: in its record and in its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    /// Task id.
    pub task: u64,
    /// [`task_kind`].
    pub kind: u8,
    /// Parent task's id, 0 none.
    pub parent: u64,
    /// Row key: location, name, type, runtime.
    pub key: u32,
    /// Size of the future, bytes.
    pub size: u32,
    /// Tick of birth.
    pub born: u64,
    /// The span that it is, 0 none.
    pub span: u64,
    /// tokio's id, 0 unknown.
    pub tokio_id: u64,
    /// Name, up to 32 bytes.
    pub name: [u64; 4],
    /// Runtime number.
    pub runtime: u32,
}

const BIRTH_WORDS: usize = 11;

impl Birth {
    /// Words of a birth record's body.
    #[inline]
    pub fn encode(&self) -> [u64; BIRTH_WORDS] {
        [
            self.task,
            self.parent & ID_MASK | (self.kind as u64) << 56,
            pack(self.key, self.size),
            self.born,
            self.span,
            self.tokio_id,
            self.name[0],
            self.name[1],
            self.name[2],
            self.name[3],
            self.runtime as u64,
        ]
    }

    fn decode(w: &[u64]) -> Option<Birth> {
        let w = w.first_chunk::<BIRTH_WORDS>()?;
        let (key, size) = unpack(w[2]);
        Some(Birth {
            task: w[0],
            kind: (w[1] >> 56) as u8,
            parent: w[1] & ID_MASK,
            key,
            size,
            born: w[3],
            span: w[4],
            tokio_id: w[5],
            name: [w[6], w[7], w[8], w[9]],
            runtime: w[10] as u32,
        })
    }
}

/// The end of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskEnd {
    /// All of its birth.
    pub birth: Birth,
    /// [`outcome`].
    pub outcome: u16,
    /// Totals.
    pub totals: Totals,
}

/// Words of a task end's body.
pub const TASK_END_WORDS: usize = BIRTH_WORDS + 9;

impl TaskEnd {
    /// Flags and body.
    #[inline]
    pub fn encode(&self) -> (u16, [u64; TASK_END_WORDS]) {
        let t = &self.totals;
        let mut words = [0; TASK_END_WORDS];
        words[..BIRTH_WORDS].copy_from_slice(&self.birth.encode());
        words[BIRTH_WORDS..].copy_from_slice(&[
            t.polls,
            t.busy,
            t.nested,
            t.scheduled,
            t.idle,
            t.wakes,
            t.self_wakes,
            t.clones,
            t.drops,
        ]);
        (self.outcome, words)
    }

    fn decode(flags: u16, w: &[u64]) -> Option<TaskEnd> {
        let t = w.get(BIRTH_WORDS..)?.first_chunk::<9>()?;
        Some(TaskEnd {
            birth: Birth::decode(w)?,
            outcome: flags,
            totals: Totals {
                polls: t[0],
                busy: t[1],
                nested: t[2],
                scheduled: t[3],
                idle: t[4],
                wakes: t[5],
                self_wakes: t[6],
                clones: t[7],
                drops: t[8],
            },
        })
    }
}

/// One poll; its record's tick is its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poll {
    /// Task id.
    pub task: u64,
    /// [`poll`]'s bits but those that say what follows.
    pub flags: u16,
    /// The task's poll ordinal, low bits.
    pub ordinal: u8,
    /// Ticks.
    pub busy: u64,
    /// Ticks.
    pub scheduled: u64,
    /// Ticks of inner polls.
    pub nested: u64,
    /// The first waker.
    pub who: Who,
    /// Wakes, saturating.
    pub wakes: u8,
    /// The last waker, where there was more than one wake.
    pub last_who: Option<Who>,
}

impl Poll {
    /// Whether the record is the usual one of three words: [`Poll::encode_short`].
    #[inline]
    pub fn is_short(&self) -> bool {
        (self.busy | self.scheduled) >> 32 == 0 && self.nested == 0 && self.last_who.is_none()
    }

    #[inline]
    fn flag_word(&self, more: u16) -> u16 {
        self.flags & 0xff | more | (self.ordinal as u16) << 8
    }

    /// Flags and body of a short one.
    #[inline]
    pub fn encode_short(&self) -> (u16, [u64; 3]) {
        let body =
            [self.task, self.busy & 0xffff_ffff | self.scheduled << 32, self.who.0 << 8 | self.wakes as u64];
        (self.flag_word(0), body)
    }

    /// Flags and body of any; the body is the first `usize` words.
    pub fn encode(&self) -> (u16, [u64; 6], usize) {
        let (mut flags, short) = self.encode_short();
        let mut body = [0; 6];
        body[0] = self.task;
        let mut n = 2;
        if (self.busy | self.scheduled) >> 32 == 0 {
            body[1] = short[1];
        } else {
            flags |= poll::LONG;
            body[1] = self.busy;
            body[2] = self.scheduled;
            n = 3;
        }
        body[n] = short[2];
        n += 1;
        if self.nested != 0 {
            flags |= poll::NESTED;
            body[n] = self.nested;
            n += 1;
        }
        if let Some(last) = self.last_who {
            flags |= poll::LAST_WHO;
            body[n] = last.0;
            n += 1;
        }
        (flags, body, n)
    }

    fn decode(flags: u16, w: &[u64]) -> Option<Poll> {
        let mut words = w.iter().copied();
        let task = words.next()?;
        let second = words.next()?;
        let (busy, scheduled) = if flags & poll::LONG != 0 {
            (second, words.next()?)
        } else {
            (second & 0xffff_ffff, second >> 32)
        };
        let who = words.next()?;
        let nested = if flags & poll::NESTED != 0 { words.next()? } else { 0 };
        let last_who = if flags & poll::LAST_WHO != 0 { Some(Who(words.next()?)) } else { None };
        Some(Poll {
            task,
            flags: flags & 0xff & !(poll::LONG | poll::NESTED | poll::LAST_WHO),
            ordinal: (flags >> 8) as u8,
            busy,
            scheduled,
            nested,
            who: Who(who >> 8),
            wakes: who as u8,
            last_who,
        })
    }
}

/// The open of a span; its record's tick is the open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanOpen {
    /// Local id.
    pub span: u64,
    /// Parent's local id, 0 none.
    pub parent: u64,
    /// Callsite.
    pub callsite: u32,
    /// Name string, 0: the callsite's.
    pub name: u32,
    /// The task in which it was opened or which it is, 0 none.
    pub task: u64,
    /// [`source`].
    pub source: u8,
}

impl SpanOpen {
    /// Body.
    #[inline]
    pub fn encode(&self) -> [u64; 4] {
        [
            self.span,
            self.parent,
            pack(self.callsite, self.name),
            self.task & ID_MASK | (self.source as u64) << 56,
        ]
    }

    fn decode(w: &[u64]) -> Option<SpanOpen> {
        let w = w.first_chunk::<4>()?;
        let (callsite, name) = unpack(w[2]);
        Some(SpanOpen {
            span: w[0],
            parent: w[1],
            callsite,
            name,
            task: w[3] & ID_MASK,
            source: (w[3] >> 56) as u8,
        })
    }
}

/// OpenTelemetry's ids of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanIds {
    /// Trace id.
    pub trace: u128,
    /// Span id.
    pub span: u64,
    /// Parent's span id, 0 none.
    pub parent: u64,
}

/// The end of a span; its record's tick is its close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanEnd {
    /// All of its open.
    pub open: SpanOpen,
    /// [`span`]'s bits.
    pub flags: u16,
    /// Tick of the open.
    pub opened: u64,
    /// Tick of the end: the last exit, or the close if it was never entered.
    pub ended: u64,
    /// Ticks.
    pub busy: u64,
    /// Ticks.
    pub scheduled: u64,
    /// Times entered, or polls.
    pub polls: u64,
    /// Attributes recorded.
    pub attributes: u32,
    /// Attributes beyond the limit.
    pub dropped: u32,
    /// Events beyond the limit.
    pub dropped_events: u32,
    /// Links beyond the limit.
    pub dropped_links: u32,
    /// Ids, if known (flag).
    pub ids: SpanIds,
}

/// Words of a span end's body at most.
pub const SPAN_END_WORDS: usize = 15;
/// Words that it always has.
const SPAN_END_LEAST: usize = 14;

impl SpanEnd {
    /// Flags, body and how many words of it: the last is left out where it would be 0.
    #[inline]
    pub fn encode(&self) -> (u16, [u64; SPAN_END_WORDS], usize) {
        let open = self.open.encode();
        let body = [
            open[0],
            open[1],
            open[2],
            open[3],
            self.opened,
            self.ended,
            self.busy,
            self.scheduled,
            self.polls,
            pack(self.attributes, self.dropped),
            self.ids.trace as u64,
            (self.ids.trace >> 64) as u64,
            self.ids.span,
            self.ids.parent,
            pack(self.dropped_events, self.dropped_links),
        ];
        let last = body[SPAN_END_LEAST] != 0;
        (self.flags, body, SPAN_END_LEAST + last as usize)
    }

    fn decode(flags: u16, w: &[u64]) -> Option<SpanEnd> {
        let open = SpanOpen::decode(w)?;
        let (dropped_events, dropped_links) = unpack(w.get(SPAN_END_LEAST).copied().unwrap_or(0));
        let w = w.first_chunk::<SPAN_END_LEAST>()?;
        let (attributes, dropped) = unpack(w[9]);
        Some(SpanEnd {
            open,
            flags,
            opened: w[4],
            ended: w[5],
            busy: w[6],
            scheduled: w[7],
            polls: w[8],
            attributes,
            dropped,
            dropped_events,
            dropped_links,
            ids: SpanIds { trace: (w[11] as u128) << 64 | w[10] as u128, span: w[12], parent: w[13] },
        })
    }
}

/// A job; its record's tick is its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Row key: location and name.
    pub key: u32,
    /// [`outcome`].
    pub outcome: u16,
    /// Ticks of the run.
    pub busy: u64,
    /// Ticks in the queue before it.
    pub queued: u64,
    /// The task that started it, 0 none.
    pub parent: u64,
    /// The span that it is, 0 none.
    pub span: u64,
}

impl Job {
    /// Flags and body.
    pub fn encode(&self) -> (u16, [u64; 5]) {
        (self.outcome, [self.key as u64, self.busy, self.queued, self.parent, self.span])
    }
}

/// A record whose kind is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// A thread took this ring: `os id:32 | kind:8 | worker + 1:16`, writer id, runtime, name.
    Thread {
        /// Writer id.
        writer: u64,
        /// As in the thread slot.
        os_id: u64,
        /// Runtime number.
        runtime: u32,
        /// Up to 32 bytes.
        name: [u64; 4],
    },
    /// See [`Poll`].
    Poll(Poll),
    /// See [`Birth`].
    TaskBirth(Birth),
    /// See [`TaskEnd`].
    TaskEnd(TaskEnd),
    /// One task saw another's result.
    Join {
        /// Who waited.
        joiner: u64,
        /// Who was waited for.
        joined: u64,
    },
    /// A park of this many ticks ended.
    Park(u64),
    /// See [`Job`].
    Job(Job),
    /// See [`SpanOpen`].
    SpanOpen(SpanOpen),
    /// Late ids; flags as in [`span`].
    SpanIds(u64, u16, SpanIds),
    /// An attribute: number.
    Number {
        /// Local span id, 0 for an event outside any.
        span: u64,
        /// Key string.
        key: u32,
        /// [`value`].
        ty: u8,
        /// Bits.
        bits: u64,
        /// It belongs to the event before.
        of_event: bool,
    },
    /// An attribute: text, or its first part.
    Text {
        /// Local span id, 0 for an event outside any.
        span: u64,
        /// Key string.
        key: u32,
        /// Length before any cut.
        length: u32,
        /// Bytes recorded, this part and those that follow.
        stored: u32,
        /// This part, in whole words.
        part: &'a [u64],
        /// It belongs to the event before.
        of_event: bool,
    },
    /// The next part of a text.
    More(&'a [u64]),
    /// An event in a span (0: none) at a callsite.
    Event {
        /// Local span id.
        span: u64,
        /// Callsite.
        callsite: u32,
        /// Attributes that follow.
        attributes: u32,
        /// Attributes beyond the limit.
        dropped: u32,
        /// It is beyond its span's limit of events.
        beyond: bool,
    },
    /// A link to a local span or to ids.
    Link {
        /// Whose.
        span: u64,
        /// To a local span, 0 none.
        local: u64,
        /// To a trace and span elsewhere.
        ids: SpanIds,
    },
    /// See [`SpanEnd`].
    SpanEnd(SpanEnd),
    /// A stack: `what:8` in the flags, task, poll start, weight, addresses.
    Stack {
        /// Task, 0 none.
        task: u64,
        /// Start of its poll.
        poll_start: u64,
        /// `f32` bits of the weight.
        weight: u32,
        /// 1 await, 2 wake, 3 blocked.
        what: u16,
        /// Addresses, the innermost first.
        addresses: &'a [u64],
    },
    /// A CPU sample.
    Sample {
        /// Task, 0 none.
        task: u64,
        /// Local span, 0 none.
        span: u64,
        /// Samples it stands for.
        weight: u32,
        /// Addresses, the innermost first.
        addresses: &'a [u64],
    },
    /// A kind this version does not know, or a body too short for its kind.
    Unknown,
}

impl<'a> Record<'a> {
    /// What a record says. Never fails: what cannot be understood is [`Record::Unknown`].
    pub fn decode(raw: &Raw<'a>) -> Record<'a> {
        Record::try_decode(raw).unwrap_or(Record::Unknown)
    }

    fn try_decode(raw: &Raw<'a>) -> Option<Record<'a>> {
        let (flags, w) = (raw.flags, raw.body);
        let word = |i: usize| w.get(i).copied();
        Some(match raw.kind {
            kind::MORE => Record::More(w),
            kind::THREAD => Record::Thread {
                writer: word(0)?,
                os_id: word(1)?,
                runtime: word(2)? as u32,
                name: [word(3)?, word(4)?, word(5)?, word(6)?],
            },
            kind::POLL => Record::Poll(Poll::decode(flags, w)?),
            kind::TASK_BIRTH => Record::TaskBirth(Birth::decode(w)?),
            kind::TASK_END => Record::TaskEnd(TaskEnd::decode(flags, w)?),
            kind::JOIN => Record::Join { joiner: word(0)?, joined: word(1)? },
            kind::PARK => Record::Park(word(0)?),
            kind::JOB => Record::Job(Job {
                key: word(0)? as u32,
                outcome: flags,
                busy: word(1)?,
                queued: word(2)?,
                parent: word(3)?,
                span: word(4)?,
            }),
            kind::SPAN_OPEN => Record::SpanOpen(SpanOpen::decode(w)?),
            kind::SPAN_IDS => Record::SpanIds(
                word(0)?,
                flags,
                SpanIds {
                    trace: (word(2)? as u128) << 64 | word(1)? as u128,
                    span: word(3)?,
                    parent: word(4)?,
                },
            ),
            kind::ATTRIBUTE => {
                let (key, ty) = unpack(word(1)?);
                let of_event = flags & value::OF_EVENT != 0;
                if ty as u8 == value::STR {
                    let (length, stored) = unpack(word(2)?);
                    Record::Text { span: word(0)?, key, length, stored, part: w.get(3..)?, of_event }
                } else {
                    Record::Number { span: word(0)?, key, ty: ty as u8, bits: word(2)?, of_event }
                }
            }
            kind::EVENT => {
                let (callsite, attributes) = unpack(word(1)?);
                let (dropped, beyond) = (word(2).unwrap_or(0) as u32, flags & value::BEYOND != 0);
                Record::Event { span: word(0)?, callsite, attributes, dropped, beyond }
            }
            kind::LINK => Record::Link {
                span: word(0)?,
                local: word(1)?,
                ids: SpanIds {
                    trace: (word(3)? as u128) << 64 | word(2)? as u128,
                    span: word(4)?,
                    parent: 0,
                },
            },
            kind::SPAN_END => Record::SpanEnd(SpanEnd::decode(flags, w)?),
            kind::STACK => Record::Stack {
                task: word(0)?,
                poll_start: word(1)?,
                weight: word(2)? as u32,
                what: flags,
                addresses: w.get(3..)?,
            },
            kind::SAMPLE => Record::Sample {
                task: word(0)?,
                span: word(1)?,
                weight: word(2)? as u32,
                addresses: w.get(3..)?,
            },
            _ => return None,
        })
    }
}

/// Up to 32 bytes of a name in four words, cut at a character, zero-filled.
pub fn name_words(name: &str) -> [u64; 4] {
    let mut bytes = [0u8; 32];
    let end = name.floor_char_boundary(32);
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|b| bytes[i * 8 + b])))
}

/// The name in four words: what is no UTF-8 is replaced.
pub fn name_text(words: &[u64; 4]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads_back(kind: u8, flags: u16, body: &[u64], expected: Record<'_>) {
        assert_eq!(Record::decode(&Raw { kind, flags, tick: 0, position: 0, body }), expected);
        for cut in 0..body.len() {
            let _ = Record::decode(&Raw { kind, flags, tick: 0, position: 0, body: &body[..cut] });
        }
    }

    #[test]
    fn a_poll_reads_back_short_and_long() {
        let short = Poll {
            task: 77,
            flags: poll::READY | poll::CLONED,
            ordinal: 200,
            busy: 5,
            scheduled: 6,
            who: Who::new(Who::TASK, 99),
            wakes: 1,
            ..Poll::default()
        };
        assert!(short.is_short());
        let (flags, body) = short.encode_short();
        reads_back(kind::POLL, flags, &body, Record::Poll(short));

        let long = Poll { busy: 1 << 40, nested: 3, last_who: Some(Who::new(Who::THREAD, 1)), ..short };
        assert!(!long.is_short());
        let (flags, body, n) = long.encode();
        reads_back(kind::POLL, flags, &body[..n], Record::Poll(long));
    }

    #[test]
    fn ends_read_back_whole() {
        let birth = Birth {
            task: 1,
            kind: task_kind::REQUEST,
            parent: 2,
            key: 3,
            size: 4,
            born: 5,
            span: 6,
            tokio_id: 7,
            name: name_words("worker"),
            runtime: 8,
        };
        let totals = Totals {
            polls: 1,
            busy: 2,
            nested: 3,
            scheduled: 4,
            idle: 5,
            wakes: 6,
            self_wakes: 7,
            clones: 8,
            drops: 9,
        };
        let end = TaskEnd { birth, outcome: outcome::PANICKED, totals };
        let (flags, body) = end.encode();
        reads_back(kind::TASK_END, flags, &body, Record::TaskEnd(end));

        let span = SpanEnd {
            open: SpanOpen { span: 1, parent: 2, callsite: 3, name: 4, task: 5, source: source::SERVER },
            flags: span::IDS | span::ERROR,
            opened: 10,
            ended: 20,
            busy: 3,
            scheduled: 4,
            polls: 5,
            attributes: 6,
            dropped: 7,
            dropped_events: 0,
            dropped_links: 0,
            ids: SpanIds { trace: 1 << 100 | 5, span: 8, parent: 9 },
        };
        let (flags, body, words) = span.encode();
        assert_eq!(words, SPAN_END_LEAST);
        reads_back(kind::SPAN_END, flags, &body[..words], Record::SpanEnd(span));
        let over = SpanEnd { dropped_events: 10, dropped_links: 11, ..span };
        let (flags, body, words) = over.encode();
        reads_back(kind::SPAN_END, flags, &body[..words], Record::SpanEnd(over));
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let name = "ä".repeat(20);
        assert_eq!(name_text(&name_words(&name)), "ä".repeat(16));
        assert_eq!(name_text(&name_words("short")), "short");
    }
}
