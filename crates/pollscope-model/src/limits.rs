//! Every bound of the model's memory, with its reason. Full means drop and count.

/// How much the model keeps. All of it is per session unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attributes of a span: more than a service records unless told so; it keeps OpenTelemetry's limits itself.
    pub attributes: usize,
    /// Events of a span, likewise.
    pub events: usize,
    /// Links of a span, likewise.
    pub links: usize,
    /// Rounds that an ended span waits for its ids, and attributes for a span that nobody has opened or ended.
    pub rounds_to_wait: u64,
    /// Spans being put together: as many as a service has span slots.
    pub open_spans: usize,
    /// Bytes of their attributes and events, about: a service that fills every value to its limit must not fill
    /// the agent's memory.
    pub open_bytes: usize,
    /// Live tasks: four times the task slots that a service has unless told otherwise.
    pub live_tasks: usize,
    /// Finished spans, of all sessions, that nobody has taken yet.
    pub finished_spans: usize,
    /// Events that leave by themselves too, as log records: those of one session that wait for their ids, and those
    /// of all sessions that nobody has taken yet. 0: none do.
    pub logs: usize,
    /// Ids of spans that have left, for links and parents that name them later.
    pub remembered_ids: usize,
    /// Spawn groups: as many keys as a service has rows for.
    pub groups: usize,
    /// Names told apart at one spawn location; tasks with a name of their own each would use up all groups.
    pub names_per_location: usize,
    /// Polls of tasks whose birth has not been read yet.
    pub unplaced_polls: usize,
    /// Finished tasks that are still listed.
    pub finished_tasks: usize,
    /// Panicked tasks that are still listed.
    pub panicked_tasks: usize,
    /// Entries in each of the lists of worst polls and longest scheduled times.
    pub worst: usize,
    /// Recent polls of 1 ms and more, to tell who ran while another waited.
    pub long_polls: usize,
    /// Threads that have ended and are still listed.
    pub ended_threads: usize,
    /// Runtimes, and kinds of jobs.
    pub kinds: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attributes: 1_024,
            events: 1_024,
            links: 1_024,
            rounds_to_wait: 50,
            open_spans: 262_144,
            open_bytes: 64 * 1024 * 1024,
            live_tasks: 1_048_576,
            finished_spans: 131_072,
            logs: 0,
            remembered_ids: 16_384,
            groups: 2_000,
            names_per_location: 64,
            unplaced_polls: 16_384,
            finished_tasks: 1_000,
            panicked_tasks: 100,
            worst: 100,
            long_polls: 4_096,
            ended_threads: 1_000,
            kinds: 500,
        }
    }
}
