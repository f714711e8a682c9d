//! The queue under random use: whatever happens, each span is in exactly one place, and the bounds hold.

use super::*;
use crate::answer::SendError;

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn answer(dice: &mut Dice, spans: u32) -> Answer {
    let error = SendError { signal: Signal::Traces, endpoint: "e".into(), why: "w".into(), fix: "f" };
    match dice.below(6) {
        0 => Answer::Partial { rejected: dice.below(u64::from(spans) + 5), message: "m".into() },
        1 => Answer::Refused(error),
        2 => Answer::Retry { after: Some(Duration::from_secs(dice.below(5))), error },
        3 => Answer::Retry { after: None, error },
        _ => Answer::Accepted,
    }
}

fn check(queue: &Queue, put_in: u64, settled: &[Settled]) {
    let stats = queue.stats();
    let batches = queue.unacknowledged();
    let in_batches: u64 = batches.iter().map(|batch| u64::from(batch.items)).sum();
    assert_eq!(stats.queued, in_batches);
    assert_eq!(stats.queued_bytes, batches.iter().map(|batch| batch.payload.len() as u64).sum::<u64>());
    let gone = stats.sent + stats.rejected + stats.dropped_queue_full + stats.dropped_refused;
    assert_eq!(stats.open + in_batches + gone, put_in + stats.restored);
    assert_eq!(gone, settled.iter().map(|each| u64::from(each.items)).sum::<u64>());
    assert!(batches.is_sorted_by(|a, b| a.id < b.id), "ids are unique and in order");
    assert!(settled.iter().all(|each| batches.iter().all(|batch| batch.id != each.id)), "settled is settled");
}

#[test]
fn each_span_is_in_one_place_whatever_happens() {
    for seed in 1..=100u64 {
        let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let when_full = if seed % 2 == 0 { WhenFull::DropOldest } else { WhenFull::DropNewest };
        let limits =
            Limits { batch_items: 7, batch_bytes: 500, queue_items: 60, when_full, ..Limits::default() };
        let restored = (0..dice.below(4)).map(|id| Batch {
            signal: Signal::Traces,
            id: id * 3,
            items: 5,
            payload: Bytes::from_static(b"old"),
        });
        let mut settled = Vec::new();
        let mut queue = Queue::new(Signal::Traces, limits, restored.collect(), &mut settled);
        let resource = Arc::new(Resource::default());
        let mut now = Instant::now();
        let (mut put_in, mut flying) = (0, Vec::new());
        let mut not_before = now;
        for _ in 0..400 {
            match dice.below(10) {
                0..=4 => {
                    let name = "n".repeat(dice.below(150) as usize);
                    let session = SessionId(u128::from(dice.below(3)));
                    queue.add(
                        session,
                        &resource,
                        Item::Span(Span { name, ..Span::default() }),
                        now,
                        &mut settled,
                    );
                    put_in += 1;
                }
                5 => now += Duration::from_millis(dice.below(3000)),
                6 => queue.flush(dice.below(2) == 0),
                7 if !flying.is_empty() => {
                    let batch: Batch = flying.swap_remove(dice.below(flying.len() as u64) as usize);
                    let answer = answer(dice, batch.items);
                    if let Answer::Retry { after: Some(after), .. } = answer {
                        not_before = not_before.max(now + after);
                    }
                    let dice = dice.below(u64::MAX);
                    settled.extend(queue.answered(batch.id, answer, now, SystemTime::UNIX_EPOCH, dice));
                }
                _ => {
                    if let Step::Send(batch) = queue.next(now, &mut settled) {
                        assert!(now >= not_before, "the server asked for a longer wait");
                        assert!(batch.payload.len() <= 500, "it is as small as the server takes");
                        flying.push(batch);
                    }
                }
            }
            check(&queue, put_in, &settled);
            // What flies cannot be called back; beyond that the bound holds.
            let in_flight: u64 = flying.iter().map(|batch| u64::from(batch.items)).sum();
            assert!(queue.stats().queued <= in_flight.max(60));
        }
        // The backend is well again: everything leaves.
        for batch in flying {
            settled.extend(queue.answered(batch.id, Answer::Accepted, now, SystemTime::UNIX_EPOCH, 0));
        }
        queue.flush(true);
        now += crate::answer::LONGEST_HINT * 2;
        while let Step::Send(batch) = queue.next(now, &mut settled) {
            settled.extend(queue.answered(batch.id, Answer::Accepted, now, SystemTime::UNIX_EPOCH, 0));
        }
        check(&queue, put_in, &settled);
        assert!(queue.is_empty());
    }
}

#[test]
fn only_a_span_that_is_too_large_alone_makes_a_batch_that_is() {
    let limits = Limits { batch_bytes: 1000, ..Limits::default() };
    let (mut queue, mut settled) = (Queue::new(Signal::Traces, limits, vec![], &mut Vec::new()), Vec::new());
    let resource = Arc::new(Resource::default());
    for length in [10, 2000, 10, 600, 600, 10] {
        let span = Span { name: "n".repeat(length), ..Span::default() };
        queue.add(SessionId(1), &resource, Item::Span(span), Instant::now(), &mut settled);
    }
    queue.seal(&mut settled);
    let batches: Vec<_> =
        queue.unacknowledged().iter().map(|batch| (batch.items, batch.payload.len() > 1000)).collect();
    assert_eq!(batches, [(1, false), (1, true), (2, false), (2, false)]);
}

#[test]
fn an_answer_for_an_unknown_batch_changes_nothing() {
    let mut queue = Queue::new(Signal::Traces, Limits::default(), vec![], &mut Vec::new());
    let before = queue.stats();
    assert_eq!(queue.answered(7, Answer::Accepted, Instant::now(), SystemTime::UNIX_EPOCH, 0), None);
    assert_eq!(queue.stats(), before);
}
