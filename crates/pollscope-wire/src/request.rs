//! The request page: what an agent asks of a service. Eight slots, each held by an OFD record lock on its
//! bytes; the service reads it with `pread` and never maps it.

use crate::layout::{pack, unpack};
use crate::{ids, sys};
use std::io::{self, Write};
use std::path::Path;

/// Slots on the page.
pub const SLOTS: usize = 8;
/// Words of a slot.
pub const WORDS: usize = 16;
/// Version of this page, apart from the session's.
pub const VERSION: u32 = 1;
/// Bytes of the page.
pub const BYTES: usize = SLOTS * WORDS * 8;
/// The longest that a request may hold without renewal, ns.
pub const LONGEST_NS: u64 = 60_000_000_000;

/// What one agent asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The agent's pid, as it sees itself.
    pub writer: u32,
    /// CLOCK_MONOTONIC ns until which it holds.
    pub until: u64,
    /// CPU samples a second, 0 none.
    pub cpu_hz: u32,
    /// Extra detail for `tracing`, as a severity number; 0 none.
    pub level: u32,
    /// Ordinal of the newest command, 0 none.
    pub ordinal: u32,
    /// 1 stack, 2 dump.
    pub command: u32,
    /// Writer id of the thread it is for, 0 all.
    pub thread: u64,
    /// Task that the command is about, 0 any.
    pub task: u64,
    /// Start of the poll that it is about.
    pub poll_start: u64,
    /// The agent's host name, up to 32 bytes.
    pub host: [u64; 4],
}

impl Request {
    /// Words of a slot, checksum last.
    pub fn encode(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        words[0] = pack(VERSION, self.writer);
        words[1] = self.until;
        words[2] = pack(self.cpu_hz, self.level);
        words[3] = pack(self.ordinal, self.command);
        words[4] = self.thread;
        words[5] = self.task;
        words[6] = self.poll_start;
        words[7..11].copy_from_slice(&self.host);
        words[WORDS - 1] = checksum(&words[..WORDS - 1]);
        words
    }

    /// A slot that is whole, of this version, and has not run out at `now` (CLOCK_MONOTONIC ns).
    pub fn decode(words: &[u64; WORDS], now: u64) -> Option<Request> {
        let (version, writer) = unpack(words[0]);
        let valid = version == VERSION && words[WORDS - 1] == checksum(&words[..WORDS - 1]);
        let until = words[1];
        if !valid || until <= now || until - now > LONGEST_NS {
            return None;
        }
        let (cpu_hz, level) = unpack(words[2]);
        let (ordinal, command) = unpack(words[3]);
        Some(Request {
            writer,
            until,
            cpu_hz: cpu_hz.min(999),
            level,
            ordinal,
            command,
            thread: words[4],
            task: words[5],
            poll_start: words[6],
            host: [words[7], words[8], words[9], words[10]],
        })
    }
}

fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0x706f_6c6c_7363_6f70, |sum, word| ids::mix(sum ^ word))
}

/// Makes an empty page.
pub fn create(path: &Path, mode: u32) -> io::Result<()> {
    sys::create_file(path, mode)?.write_all(&[0; BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_until_it_runs_out() {
        let request = Request { writer: 7, until: 2_000, cpu_hz: 99, ordinal: 3, ..Request::default() };
        let words = request.encode();
        assert_eq!(Request::decode(&words, 1_000), Some(request));
        assert_eq!(Request::decode(&words, 2_000), None, "run out");
        let far = Request { until: LONGEST_NS + 2, ..request };
        assert_eq!(Request::decode(&far.encode(), 1), None, "longer than any may last");
    }

    /// The page has a version of its own: what another one says asks for nothing.
    #[test]
    fn a_request_of_another_version_is_none() {
        let request = Request { writer: 9, until: 2_000, ..Request::default() };
        for version in [0, VERSION, VERSION + 1] {
            let mut words = request.encode();
            words[0] = pack(version, 9);
            words[WORDS - 1] = checksum(&words[..WORDS - 1]);
            assert_eq!(Request::decode(&words, 1_000).is_some(), version == VERSION);
        }
    }

    #[test]
    fn a_torn_slot_is_no_request() {
        let mut words = Request { until: 2_000, ..Request::default() }.encode();
        words[2] ^= 1;
        assert_eq!(Request::decode(&words, 1_000), None);
        assert_eq!(Request::decode(&[0; WORDS], 0), None);
    }
}
